#![doc = include_str!("../README.md")]

pub mod config;
pub mod domain;
pub mod store;

use messaging::Subscriptions;
use postgres::{Aggregates, Postgres};
use sqlx::migrate::Migrator;

use crate::domain::User;
use crate::store::Accounts;

/// The service's own tables; the ledger's come from `postgres`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Everything this service listens to.
pub fn subscriptions(accounts: Accounts) -> Subscriptions<Postgres> {
    // users.commands: CreateUser, DeactivateUser
    Subscriptions::new().handle(move || Aggregates::<User, _>::new(accounts.clone()))
}
