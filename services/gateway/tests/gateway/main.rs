//! The gateway through its two doors: requests without a socket, and messages without a broker. Store and pipeline are
//! the real ones; the other services are what a test says they answer.

mod accounts;
mod answering;
mod app;
mod audit;
mod edge;
mod events;
mod idempotency;
mod readme;
mod registrations;
