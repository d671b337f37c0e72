//! The whole system, through the public door: its processes, its journey, and what is looked at afterwards.
//!
//! The end-to-end tests, `scripts/demo` and `scripts/bench` share it. It knows the services only as
//! processes and HTTP.

pub mod client;
pub mod journey;
pub mod mails;
pub mod servers;
pub mod system;
pub mod traces;
