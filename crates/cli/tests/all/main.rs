//! The command as an operator runs it, on the servers of `scripts/stack`.

mod operations;
mod registry;
mod rollcall;
mod topics;
mod traces;
mod usage;
