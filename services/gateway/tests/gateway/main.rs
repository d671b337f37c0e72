//! The gateway through its two doors: requests without a socket, and messages without a broker. Store and pipeline are
//! the real ones; the other services are what a test says they answer.

mod abuse;
mod abuse_more;
mod accounts;
mod answering;
mod app;
mod at_the_door;
mod attendees;
mod audit;
mod calendar;
mod document;
mod edge;
mod event_changes;
mod events;
mod finding;
mod history;
mod idempotency;
mod keys;
mod limits;
mod ops;
mod passwords;
mod people;
mod readme;
mod rebuild;
mod registrations;
mod security;
mod sessions;
mod verification;
