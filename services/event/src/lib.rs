#![doc = include_str!("../README.md")]

pub mod config;
pub mod domain;
pub mod store;

use messaging::Subscriptions;
use postgres::{Aggregates, Journal, Postgres};
use sqlx::migrate::Migrator;

use crate::domain::Event;
use crate::store::EventStore;

/// No migrations, because the journal holds everything about an event.
pub static MIGRATIONS: Migrator = Migrator::DEFAULT;

/// All subscriptions of this service: `events.commands`.
pub fn subscriptions() -> Subscriptions<Postgres> {
    Subscriptions::new()
        .handle(|| Aggregates::<Event, _>::new(EventStore))
        .handle_ops(Journal::<Event>::new())
}
