#![doc = include_str!("../README.md")]

mod cause;
pub mod cleaner;
pub mod config;
mod copies;
mod handlers;
mod mail;
mod mail_queue;
pub mod mailer;
mod mailing;
pub mod metrics;
mod ops;
mod reminders;
pub mod server;
pub mod store;
pub mod templates;

use messaging::Subscriptions;
use mongo::Mongo;

use crate::handlers::{FollowCommands, FollowEvents, FollowProfiles, FollowRegistrations, FollowUsers};
use crate::ops::FindMails;

pub use cleaner::Cleaner;
pub use mail::{MAILS, mail_id, reminder_id};
pub use mail_queue::{MailQueue, MailQueues};
pub use mailer::Mailer;
pub use mailing::MAX_CHUNK;

/// Returns all subscriptions of this service. `mail_queues` notifies the mailer of the same process.
pub fn subscriptions(mail_queues: &MailQueues) -> Subscriptions<Mongo> {
    let [users, profiles, events, registrations, commands] = [(); 5].map(|()| mail_queues.clone());
    Subscriptions::new()
        .handle(move || FollowUsers(users.clone())) // account status; welcome e-mails
        .handle(move || FollowProfiles(profiles.clone())) // addresses and preferences
        .handle(move || FollowEvents(events.clone())) // titles, venues, times; rescheduled events and announcements
        .handle(move || FollowRegistrations(registrations.clone())) // seats, waiting list, promotions, cancellations
        .handle(move || FollowCommands(commands.clone())) // reminders, links, the next chunk of a mailing
        .handle_ops(FindMails) // ops.commands: finds the e-mails that a message caused
}
