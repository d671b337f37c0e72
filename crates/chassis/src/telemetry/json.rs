//! Formats log lines as JSON, one object per line:
//!
//! ```json
//! {"timestamp":"2026-01-02T03:04:05.678901Z","level":"INFO","service":"user","target":"user::handlers",
//!  "trace_id":"4bf9…","span_id":"00f0…","message":"…","topic":"users","spans":[{"name":"batch","size":3}]}
//! ```
//!
//! The JSON format of tracing-subscriber cannot add the trace id.

use std::fmt::{self, Debug};

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The JSON format. It requires that the fields of spans are formatted as JSON objects (`JsonFields`).
#[derive(Debug)]
pub(super) struct Json {
    service: &'static str,
}

impl Json {
    pub(super) fn new(service: &'static str) -> Json {
        Json { service }
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // Events of the `log` crate have their target in a field.
        let mut origin = Origin::default();
        event.record(&mut origin);
        let target = origin.target.as_deref().unwrap_or(event.metadata().target());

        out.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut out)?;
        write!(out, "\",\"level\":\"{}\"", event.metadata().level())?;
        write!(out, ",\"service\":{}", quoted(self.service))?;
        write!(out, ",\"target\":{}", quoted(target))?;
        Context::map_current(|context| {
            let span = context.span();
            let span = span.span_context();
            if !span.is_valid() {
                return Ok(());
            }
            let (trace_id, span_id) = (span.trace_id(), span.span_id());
            write!(out, ",\"trace_id\":\"{trace_id}\",\"span_id\":\"{span_id}\"")
        })?;
        let mut fields = Fields {
            out: &mut out,
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;

        let mut separator = ",\"spans\":[";
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            write!(out, "{separator}{{\"name\":{}", quoted(span.name()))?;
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                // The fields are a JSON object. Remove its braces.
                let object = fields.fields.strip_prefix('{');
                match object.and_then(|object| object.strip_suffix('}')) {
                    None | Some("") => {}
                    Some(fields) => write!(out, ",{fields}")?,
                }
            }
            out.write_char('}')?;
            separator = ",";
        }
        if separator == "," {
            out.write_char(']')?;
        }
        out.write_str("}\n")
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always valid JSON")
}

#[derive(Default)]
struct Origin {
    target: Option<String>,
}

impl Visit for Origin {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            self.target = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

struct Fields<'a, 'w> {
    out: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    /// Writes a field. `value` must be JSON.
    fn write(&mut self, field: &Field, value: impl fmt::Display) {
        let name = field.name().trim_start_matches("r#");
        if self.result.is_ok() && !name.starts_with("log.") {
            self.result = write!(self.out, ",{}:{value}", quoted(name));
        }
    }
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, quoted(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // Infinities and NaN become null.
        self.write(field, serde_json::Value::from(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, quoted(&format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex, PoisonError};

    use serde_json::Value;
    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::SubscriberExt;

    use super::Json;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(log: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let writer = written.clone();
        let layer = fmt::layer()
            .with_writer(move || writer.clone())
            .fmt_fields(fmt::format::JsonFields::new())
            .event_format(Json::new("user"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect()
    }

    #[test]
    fn a_line_is_an_object_with_its_fields_and_spans() {
        let lines = lines(|| {
            let _outer = tracing::info_span!("partition", topic = "users", partition = 3).entered();
            let inner = tracing::info_span!("batch", size = tracing::field::Empty).entered();
            tracing::info!(
                count = 2_u64,
                lag = -1,
                ratio = f64::NAN,
                ok = true,
                "two\n\"messages\""
            );
            inner.record("size", 2);
            tracing::warn!(error = ?Some("x"));
        });
        let [first, second] = &lines[..] else {
            panic!("two lines: {lines:?}")
        };
        assert_eq!(first["message"], "two\n\"messages\"");
        assert_eq!((&first["level"], &first["service"]), (&"INFO".into(), &"user".into()));
        assert_eq!(
            (&first["count"], &first["lag"], &first["ok"]),
            (&2.into(), &(-1).into(), &true.into())
        );
        assert!(first["ratio"].is_null() && first["trace_id"].is_null());
        assert_eq!(
            first["spans"][0],
            serde_json::json!({"name": "partition", "topic": "users", "partition": 3})
        );
        assert_eq!(first["spans"][1], serde_json::json!({"name": "batch"}));
        assert_eq!(second["spans"][1]["size"], 2);
        assert_eq!(second["error"], "Some(\"x\")");
        assert!(
            second["target"]
                .as_str()
                .expect("a target")
                .starts_with("chassis::telemetry")
        );
    }

    #[test]
    fn a_line_outside_of_spans_has_no_spans() {
        let lines = lines(|| tracing::info!("alone"));
        assert!(lines[0].get("spans").is_none());
    }
}
