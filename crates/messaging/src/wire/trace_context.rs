//! W3C Trace Context, level 1, as the values of `traceparent` and `tracestate`.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

/// Reads a trace context from its header values, for a span that continues the trace. Returns an empty context if there
/// is none.
pub fn remote_context(trace_parent: Option<&str>, trace_state: Option<&str>) -> Context {
    match trace_parent.and_then(|parent| parse(parent, trace_state)) {
        Some(parent) => Context::new().with_remote_span_context(parent),
        None => Context::new(),
    }
}

/// Returns `traceparent` (`00-<trace id>-<span id>-<flags>`) and `tracestate`; `None` if the context is invalid or empty.
pub(crate) fn render(context: &SpanContext) -> (Option<String>, Option<String>) {
    if !context.is_valid() {
        return (None, None);
    }
    let parent = format!(
        "00-{}-{}-{:02x}",
        context.trace_id(),
        context.span_id(),
        context.trace_flags()
    );
    let state = context.trace_state().header();
    (Some(parent), (!state.is_empty()).then_some(state))
}

/// Returns the span context that the header values contain, or `None` if `parent` is invalid. An invalid `state` is
/// ignored.
pub(crate) fn parse(parent: &str, state: Option<&str>) -> Option<SpanContext> {
    let mut parts = parent.split('-');
    let (_version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        state
            .and_then(|state| state.parse::<TraceState>().ok())
            .unwrap_or_default(),
    );
    context.is_valid().then_some(context)
}
