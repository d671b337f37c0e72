#![doc = include_str!("../README.md")]

pub mod config;
pub mod domain;
pub mod store;

use messaging::Subscriptions;
use postgres::{Aggregates, Journal, Postgres};
use sqlx::migrate::Migrator;

use crate::domain::Event;
use crate::store::EventStore;

/// None of its own: an event is all in the journal.
pub static MIGRATIONS: Migrator = Migrator::DEFAULT;

/// Everything this service listens to: `events.commands`.
pub fn subscriptions() -> Subscriptions<Postgres> {
    Subscriptions::new()
        .handle(|| Aggregates::<Event, _>::new(EventStore))
        .handle_ops(Journal::<Event>::new())
}
