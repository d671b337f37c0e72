//! What `contracts` promises. One binary: linking is what these tests spend their time on.

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
