#![doc = include_str!("../README.md")]

mod cause;
pub mod config;
mod copies;
mod handlers;
mod lane;
pub mod letter;
mod mail;
pub mod mailer;
mod mailing;
pub mod metrics;
mod ops;
mod reminders;
pub mod server;
pub mod store;

use messaging::Subscriptions;
use mongo::Mongo;

use crate::handlers::{FollowCommands, FollowEvents, FollowProfiles, FollowRegistrations, FollowUsers};
use crate::ops::FindMails;

pub use lane::{Lane, Lanes};
pub use mail::{MAILS, id_of, reminder_id};
pub use mailer::Mailer;
pub use mailing::PIECE;

/// Everything this service listens to. `lanes` wakes the mailer of the same process.
pub fn subscriptions(lanes: &Lanes) -> Subscriptions<Mongo> {
    let [users, profiles, events, registrations, commands] = [(); 5].map(|()| lanes.clone());
    Subscriptions::new()
        .handle(move || FollowUsers(users.clone())) // accounts; welcome
        .handle(move || FollowProfiles(profiles.clone())) // addresses, and what people want
        .handle(move || FollowEvents(events.clone())) // titles, venues, times; reschedules, announcements
        .handle(move || FollowRegistrations(registrations.clone())) // seat, waiting list, promotion, the end
        .handle(move || FollowCommands(commands.clone())) // reminders, links, the next piece of a mailing
        .handle_ops(FindMails) // ops.commands: what a message led to
}
