#![doc = include_str!("../README.md")]

pub mod config;
pub mod consumers;
pub mod domain;
pub mod store;

use messaging::Subscriptions;
use postgres::{Aggregates, Journal, Postgres};
use sqlx::migrate::Migrator;

use crate::consumers::{FollowEvents, ReleaseSeats};
use crate::domain::Roster;
use crate::store::RosterStore;

pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// Everything this service listens to: `registrations.commands`, `events`, `users`.
pub fn subscriptions() -> Subscriptions<Postgres> {
    Subscriptions::new()
        .handle(|| Aggregates::<Roster, _>::new(RosterStore))
        .handle(|| FollowEvents)
        .handle(|| ReleaseSeats)
        .handle_ops(Journal::<Roster>::new())
}
