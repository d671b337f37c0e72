#![doc = include_str!("../README.md")]

pub mod api;
pub mod app;
pub mod bootstrap;
pub mod config;
pub mod consumers;
pub mod error;
pub mod fingerprint;
pub mod members;
pub mod operations;
pub mod passwords;
pub mod problem;
pub mod roles;
pub mod start;
pub mod store;
mod text;
pub mod tokens;

pub use app::App;
pub use config::Config;
pub use operations::Tasks;
pub use start::{MIGRATIONS, migrate, start};
