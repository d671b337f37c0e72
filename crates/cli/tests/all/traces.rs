use std::time::{Duration, Instant};

use chassis::settings::Settings;
use opentelemetry::trace::TraceContextExt as _;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

use crate::rollcall::{Rollcall, env};

#[tokio::test]
async fn a_trace_is_shown_as_a_tree() {
    let collector = env("OTEL_EXPORTER_OTLP_ENDPOINT");
    let settings = Settings::from_map([("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()), ("RUST_LOG", "off")]);
    let config = settings
        .read(chassis::telemetry::Config::from_settings)
        .expect("valid settings");
    let telemetry = chassis::telemetry::init("cli-test", "0", Uuid::now_v7(), &config).expect("telemetry");
    let outer = tracing::info_span!("outer");
    let id = outer.context().span().span_context().trace_id().to_string();
    async { tracing::info_span!("inner").in_scope(|| ()) }
        .instrument(outer)
        .await;
    telemetry.shutdown(Duration::from_secs(10)).await;

    let rollcall = Rollcall::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    let text = loop {
        let output = rollcall.run(&["trace", &id]);
        if output.code == Some(0) || Instant::now() > deadline {
            break output.stdout;
        }
        assert_eq!(output.code, Some(1), "{output:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with(&format!("{id}: 2 spans, 1 service, ")), "{text}");
    assert!(
        lines[2].starts_with("outer     cli-test") && lines[3].starts_with("└─ inner  cli-test"),
        "{text}"
    );

    let spans = rollcall.run(&["trace", &id, "--json"]).json()["spans"].clone();
    let named = |name: &str| {
        spans
            .as_array()
            .expect("a list")
            .iter()
            .find(|span| span["operation"] == name)
            .cloned()
    };
    let (outer, inner) = (named("outer").expect("outer"), named("inner").expect("inner"));
    assert_eq!(
        (&inner["parent"], &inner["service"]),
        (&outer["id"], &serde_json::json!("cli-test"))
    );
}

#[test]
fn an_unknown_trace_leads_to_exit_code_1() {
    let output = Rollcall::new().run(&["trace", "0000000000000000000000000000c0de"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.starts_with("Jaeger has no trace"), "{output:?}");
}
