//! The whole system through its public interfaces: its processes, the journey of its users, and the checks afterwards.
//!
//! The end-to-end tests, `scripts/demo` and `scripts/bench` share this crate. It knows the services only as processes
//! and HTTP endpoints.

pub mod client;
pub mod journey;
pub mod mails;
pub mod search;
pub mod servers;
pub mod system;
pub mod topics;
pub mod traces;

use std::path::PathBuf;

/// Returns the folder for the logs of a test's processes. It is in the build folder, so the checkout stays clean.
pub fn log_folder(test: &str) -> PathBuf {
    let executable = std::env::current_exe().unwrap_or_default();
    let target = executable
        .ancestors()
        .find(|folder| folder.ends_with("debug"))
        .map_or_else(std::env::temp_dir, PathBuf::from);
    target.join("end-to-end-logs").join(test)
}
