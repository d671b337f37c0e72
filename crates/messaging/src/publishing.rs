//! The path of a message from a transaction to Kafka: appended to the outbox, committed, published by the relay.

pub(crate) mod publisher;
pub(crate) mod relay;
pub(crate) mod unit;
