#![doc = include_str!("../README.md")]

mod backoff;
mod boot;
mod consuming;
pub mod kafka;
pub mod ledger;
mod metrics;
mod ops;
mod publishing;
mod runtime;
mod service;
mod settings;
pub mod topics;
mod watch;
mod wire;

pub use backoff::Stopped;
pub use boot::Error as BootError;
pub use consuming::consumer::{Consumer, Error as ConsumerError};
pub use consuming::handler::{BoxError, Failure, Handler, LogHandler};
pub use consuming::lane::Lane;
pub use consuming::lane::queue::PartitionLag;
pub use consuming::ops_handler::{OpsHandler, OpsOutcome};
pub use consuming::read;
pub use consuming::release::Released;
pub use consuming::subscriptions::Subscriptions;
pub use kafka::INBOX_RETENTION;
pub use ledger::Ledger;
pub use metrics::Metrics;
pub use publishing::publisher::{AppendError, MAX_VALUE_BYTES, Publisher};
pub use publishing::relay::{Error as RelayError, Relay};
pub use publishing::unit::Unit;
pub use runtime::OPS_TIME_LIMIT;
#[cfg(feature = "testing")]
pub use service::Inputs;
pub use service::Messaging;
pub use settings::Settings;
pub use wire::envelope::{CONTENT_TYPE, Envelope, EnvelopeError, header};
pub use wire::message::{Cause, Outgoing, Received};
pub use wire::record::{Headers, Record, TopicPartition};
pub use wire::trace_context::remote_context;
