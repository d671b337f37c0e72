//! Messages as they are on Kafka: records, headers, envelopes, trace context.

pub(crate) mod deferral;
pub(crate) mod envelope;
pub(crate) mod message;
pub(crate) mod record;
pub(crate) mod trace;
pub(crate) mod trace_context;
