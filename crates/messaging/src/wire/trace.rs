//! Spans of messages, by OpenTelemetry's messaging conventions (version `chassis::telemetry::SEMCONV_VERSION`).
//!
//! Appending to the outbox creates a `create` span, whose context is sent with the message. The `process` span of a message
//! is its child and links to it. A span for many messages (the relay's `send`, a batch) only links to their `create` spans.
//! Messages that are not sampled get no span: their context is passed on.

use contracts::Timestamp;
use opentelemetry::trace::{Link, SpanBuilder, SpanContext, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use uuid::Uuid;

use crate::wire::envelope::Envelope;
use crate::wire::message::{Cause, Received};
use crate::wire::trace_context::{parse, render};

const TRACER: &str = "rollcall.messaging";
const SYSTEM: &str = "messaging.system";
const OPERATION_NAME: &str = "messaging.operation.name";
const OPERATION_TYPE: &str = "messaging.operation.type";
const DESTINATION: &str = "messaging.destination.name";
const PARTITION: &str = "messaging.destination.partition.id";
const MESSAGE_ID: &str = "messaging.message.id";
const KEY: &str = "messaging.kafka.message.key";
const OFFSET: &str = "messaging.kafka.offset";
const GROUP: &str = "messaging.consumer.group.name";
const BATCH_SIZE: &str = "messaging.batch.message_count";

/// Creates the `create` span of a message and returns the trace context to send with the message.
///
/// A delayed message starts a new trace that links to the old one, because it would extend the old trace by hours.
pub(crate) fn created(
    cause: &Cause,
    topic: &str,
    id: Uuid,
    due_at: Option<Timestamp>,
) -> (Option<String>, Option<String>) {
    let Some(parent) = &cause.trace else {
        return (cause.trace_parent.clone(), cause.trace_state.clone());
    };
    let parent_span = parent.span().span_context().clone();
    if !parent_span.is_sampled() {
        return render(&parent_span);
    }
    let mut span = builder("create", "create", topic, SpanKind::Producer);
    push(&mut span, KeyValue::new(MESSAGE_ID, id.to_string()));
    let tracer = global::tracer(TRACER);
    let context = if due_at.is_some() {
        let span = span.with_links(vec![Link::with_context(parent_span)]);
        parent.with_span(tracer.build_with_context(span, &Context::new()))
    } else {
        parent.with_span(tracer.build_with_context(span, parent))
    };
    render(context.span().span_context())
}

/// Starts the `process` span of a sampled message. Messages that are published meanwhile become its children.
pub(crate) fn start_process<M>(service: &str, message: &Received<M>) {
    let Some(created) = sampled(&message.envelope) else {
        return;
    };
    let span = builder("process", "process", &message.partition.topic, SpanKind::Consumer);
    let mut span = span.with_links(vec![Link::with_context(created.clone())]);
    for attribute in [
        KeyValue::new(MESSAGE_ID, message.envelope.id.to_string()),
        KeyValue::new(KEY, message.envelope.key.to_string()),
        KeyValue::new(PARTITION, message.partition.partition.to_string()),
        KeyValue::new(OFFSET, message.offset),
        KeyValue::new(GROUP, service.to_owned()),
        KeyValue::new("rollcall.message.type", message.envelope.type_name.clone()),
    ] {
        push(&mut span, attribute);
    }
    let parent = Context::new().with_remote_span_context(created);
    let span = global::tracer(TRACER).build_with_context(span, &parent);
    // A batch that is retried keeps its first span, because that span shows how long the message took in total.
    let _ = message.span.set(parent.with_span(span));
}

/// Ends the `process` span.
pub(crate) fn end_process<M>(message: &Received<M>) {
    if let Some(context) = message.span.get() {
        context.span().end();
    }
}

/// Creates a span in a separate trace that links to every sampled message: `process` of a batch, or the relay's `send`.
/// Returns `None` if no message is sampled.
pub(crate) fn linked<'a>(
    operation: &'static str,
    topic: &str,
    kind: SpanKind,
    messages: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>,
) -> Option<Context> {
    let mut count = 0;
    let links: Vec<_> = messages
        .inspect(|_| count += 1)
        .filter_map(|(parent, state)| parse(parent?, state))
        .filter(SpanContext::is_sampled)
        .map(Link::with_context)
        .collect();
    if links.is_empty() {
        return None;
    }
    let mut span = builder(operation, operation, topic, kind).with_links(links);
    push(&mut span, KeyValue::new(BATCH_SIZE, count));
    let context = Context::new();
    let span = global::tracer(TRACER).build_with_context(span, &context);
    Some(context.with_span(span))
}

/// Returns the context of the message's `create` span if it is sampled.
fn sampled(envelope: &Envelope) -> Option<SpanContext> {
    let parent = envelope.trace_parent.as_deref()?;
    parse(parent, envelope.trace_state.as_deref()).filter(SpanContext::is_sampled)
}

fn builder(name: &'static str, kind: &'static str, topic: &str, span: SpanKind) -> SpanBuilder {
    SpanBuilder::from_name(format!("{name} {topic}"))
        .with_kind(span)
        .with_attributes([
            KeyValue::new(SYSTEM, "kafka"),
            KeyValue::new(OPERATION_NAME, name),
            KeyValue::new(OPERATION_TYPE, kind),
            KeyValue::new(DESTINATION, topic.to_owned()),
        ])
}

fn push(span: &mut SpanBuilder, attribute: KeyValue) {
    span.attributes.get_or_insert_default().push(attribute);
}
