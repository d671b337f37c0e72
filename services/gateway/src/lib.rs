#![doc = include_str!("../README.md")]

mod admins;
pub mod api;
pub mod app;
pub mod bootstrap;
pub mod calendar;
pub mod clean_up;
pub mod client;
pub mod config;
pub mod csv;
pub mod error;
pub mod event_reads;
pub mod fingerprint;
pub mod handlers;
pub mod limits;
pub mod links;
mod memory;
pub mod operations;
pub mod ops;
pub mod password_resets;
pub mod passwords;
pub mod principal;
pub mod principal_cache;
pub mod problem;
pub mod rebuild;
pub mod roles;
pub mod security;
pub mod start;
pub mod store;
mod text;
pub mod tickets;
pub mod tokens;

pub use app::{App, Tasks};
pub use clean_up::CleanUp;
pub use config::Config;
pub use start::{MIGRATIONS, migrate, start};
