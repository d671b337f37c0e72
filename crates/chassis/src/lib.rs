#![doc = include_str!("../README.md")]

pub mod admin;
mod command;
mod error_chain;
mod exit;
mod health;
mod healthcheck;
pub mod http;
pub mod metrics;
mod process;
pub mod serve;
pub mod settings;
mod signals;
mod supervisor;
pub mod telemetry;

pub use admin::Admin;
pub use command::{USAGE, main};
pub use error_chain::error_chain;
pub use exit::Exit;
pub use health::{Check, Health};
pub use healthcheck::healthcheck;
pub use process::Process;
pub use settings::Settings;
pub use supervisor::Supervisor;
