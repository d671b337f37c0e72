//! Tests of the gateway through its two interfaces: requests without a socket, and messages without a broker.
//!
//! Store and pipeline are the real ones. The tests play the other services and send their replies.

mod access_control;
mod accounts;
mod app;
mod attendees;
mod audit;
mod business_flows;
mod calendar;
mod check_in;
mod clean_up;
mod edge;
mod event_changes;
mod event_search;
mod events;
mod exposure;
mod history;
mod idempotency;
mod keys;
mod limits;
mod openapi;
mod ops;
mod passwords;
mod readme;
mod rebuild;
mod registrations;
mod security;
mod sessions;
mod statements;
mod untrusted_messages;
mod users;
mod verification;
mod write_outcomes;
