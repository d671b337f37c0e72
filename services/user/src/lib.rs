#![doc = include_str!("../README.md")]

pub mod config;
pub mod domain;
pub mod store;

use messaging::Subscriptions;
use postgres::{Aggregates, Journal, Postgres};
use sqlx::migrate::Migrator;

use crate::domain::User;
use crate::store::UserStore;

pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// All subscriptions of this service: `users.commands`.
pub fn subscriptions(store: UserStore) -> Subscriptions<Postgres> {
    Subscriptions::new()
        .handle(move || Aggregates::<User, _>::new(store.clone()))
        .handle_ops(Journal::<User>::new())
}
