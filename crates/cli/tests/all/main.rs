//! Tests of the `rollcall` executable against the servers of `scripts/stack`.

mod audit;
mod malformed_replies;
mod ops;
mod real_service;
mod registry;
mod rollcall;
mod services;
mod statuses;
mod topics;
mod traces;
mod usage;
mod where_is;
