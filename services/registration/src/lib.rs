#![doc = include_str!("../README.md")]

pub mod config;
pub mod domain;
pub mod handlers;
pub mod store;

use messaging::Subscriptions;
use postgres::{Aggregates, Journal, Postgres};
use sqlx::migrate::Migrator;

use crate::domain::Roster;
use crate::handlers::{FollowEvents, ReleaseSeats};
use crate::store::RosterStore;

pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// All subscriptions of this service: `registrations.commands`, `events`, `users`.
pub fn subscriptions() -> Subscriptions<Postgres> {
    Subscriptions::new()
        .handle(|| Aggregates::<Roster, _>::new(RosterStore))
        .handle(|| FollowEvents)
        .handle(|| ReleaseSeats)
        .handle_ops(Journal::<Roster>::new())
}
