//! Everything that the chassis promises, through its doors.

mod admin;
mod client;
mod http;
mod process;
mod serve;
mod settings;
mod supervision;
