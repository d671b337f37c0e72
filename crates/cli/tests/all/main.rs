//! The command as an operator runs it, on the servers of `scripts/stack`.

mod audit;
mod hostile;
mod operations;
mod real;
mod registry;
mod rollcall;
mod services;
mod statuses;
mod topics;
mod traces;
mod usage;
mod whereabouts;
