//! The path of a message from a Kafka record to the commit of its effects: consumer, lane, transaction, handler.

pub(crate) mod any_handler;
pub(crate) mod arrival;
pub(crate) mod attempt_error;
pub(crate) mod batch_counts;
pub(crate) mod consumer;
pub(crate) mod discard;
pub(crate) mod handler;
pub(crate) mod known_failures;
pub(crate) mod lane;
pub(crate) mod ops_handler;
pub mod read;
pub(crate) mod release;
pub(crate) mod sequence;
pub(crate) mod stub;
pub(crate) mod subscription;
pub(crate) mod subscriptions;
pub(crate) mod transaction;
