//! Tests of the public API of the chassis.

mod admin;
mod client;
mod http;
mod process;
mod serve;
mod settings;
mod supervision;
