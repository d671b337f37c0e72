//! The tests of `contracts`. They are one binary, because most of their time is spent on linking.

mod compatibility;
mod evolution;
mod golden;
mod hostile_bytes;
mod limits;
mod personal;
mod registry;
mod rust_types;
mod samples;
mod schema_files;
mod snapshots;
