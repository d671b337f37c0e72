//! The whole system, through the public door: its processes, its journey, and what is looked at afterwards.
//!
//! The end-to-end tests, `scripts/demo` and `scripts/bench` share it. It knows the services only as
//! processes and HTTP.

pub mod client;
pub mod journey;
pub mod mails;
pub mod search;
pub mod servers;
pub mod system;
pub mod topics;
pub mod traces;

use std::path::PathBuf;

/// Where a test's processes write their logs: beside the build, so that nothing is left in the checkout.
pub fn log_folder(test: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let target = own
        .ancestors()
        .find(|folder| folder.ends_with("debug"))
        .map_or_else(std::env::temp_dir, PathBuf::from);
    target.join("end-to-end-logs").join(test)
}
