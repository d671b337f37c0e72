#![doc = include_str!("../README.md")]

pub mod config;
mod copies;
mod handlers;
pub mod letter;
mod mail;
pub mod mailer;
pub mod metrics;
pub mod server;
pub mod store;

use messaging::Subscriptions;
use mongo::Mongo;

use crate::handlers::{FollowEvents, FollowProfiles, FollowRegistrations, FollowUsers};

pub use mail::{Lane, Lanes, MAILS, id_of};
pub use mailer::Mailer;

/// Everything this service listens to. `lanes` wakes the mailer of the same process.
pub fn subscriptions(lanes: &Lanes) -> Subscriptions<Mongo> {
    let lanes = [(); 4].map(|()| lanes.clone());
    let [users, profiles, events, registrations] = lanes;
    Subscriptions::new()
        .handle(move || FollowUsers(users.clone())) // accounts; welcome
        .handle(move || FollowProfiles(profiles.clone())) // addresses
        .handle(move || FollowEvents(events.clone())) // titles, venues, times
        .handle(move || FollowRegistrations(registrations.clone())) // seat, waiting list, promotion, the end
}
