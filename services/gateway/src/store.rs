//! The gateway's database: SQL, in functions on a connection or a transaction.

pub mod accounts;
pub mod clean_up;
pub mod events;
pub mod history;
pub mod links;
pub mod notifications;
pub mod operations;
pub mod page;
pub mod processes;
pub mod registrations;
pub mod sessions;
pub mod shadow;
pub mod signing_keys;
pub mod users;
pub mod viewer;

/// Returns one column of many rows, for `UNNEST`.
fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
