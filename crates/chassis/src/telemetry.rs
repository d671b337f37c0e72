//! Writes logs to standard error, and exports traces to an OpenTelemetry collector.
//!
//! Attribute names follow the OpenTelemetry semantic conventions, [`SEMCONV_VERSION`].

mod export;
mod json;
mod per_event;

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue, global};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, dynamic_filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};
use uuid::Uuid;

use crate::settings::{Reader, Url, Value};

/// Version of the OpenTelemetry semantic conventions that names follow: that of the crate
/// `opentelemetry-semantic-conventions` 0.33. The schema URL of resources and spans contains it.
pub const SEMCONV_VERSION: &str = "1.42.0";
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Directives for crates that log too much at `info`. `RUST_LOG` can override each of them.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,librdkafka=warn,mongodb=warn,rdkafka=warn,reqwest=warn,\
                     rustls=warn,sqlx::query=warn,tonic=warn,tower=warn";

/// Configuration of logs and traces.
#[derive(Debug, Clone)]
pub struct Config {
    /// Format of the log lines.
    pub format: LogFormat,
    /// Selection of the log lines.
    pub filter: Filter,
    /// Collector of the traces; `None` disables traces.
    pub collector: Option<Url>,
    /// Share of new traces that are sampled, from 0 to 1. A trace that another process began follows its parent.
    pub sample_ratio: f64,
}

impl Config {
    /// Reads `LOG_FORMAT`, `RUST_LOG`, `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_TRACES_SAMPLER_ARG`.
    pub fn from_settings(read: &mut Reader) -> Config {
        let config = Config {
            format: read.or("LOG_FORMAT", "json", "json, or pretty for reading"),
            filter: read.or("RUST_LOG", "info", "log filter, in the syntax of tracing's EnvFilter"),
            collector: read.optional(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "http://127.0.0.1:4317",
                "trace collector, OTLP over gRPC; without it, no traces are exported",
            ),
            sample_ratio: read.or(
                "OTEL_TRACES_SAMPLER_ARG",
                "1",
                "share of new traces that are sampled, 0 to 1",
            ),
        };
        if config.collector.as_ref().is_some_and(|url| url.scheme() != "http") {
            read.problem(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "must begin with http://, because TLS is the task of a local collector",
            );
        }
        if !(0.0..=1.0).contains(&config.sample_ratio) {
            read.problem("OTEL_TRACES_SAMPLER_ARG", "must be from 0 to 1");
        }
        config
    }
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line. Within a span it contains the trace id.
    Json,
    /// Text, coloured on a terminal.
    Pretty,
}

impl Value for LogFormat {
    fn parse(_: &str, text: &str) -> Result<LogFormat, String> {
        match text {
            "json" => Ok(LogFormat::Json),
            "pretty" => Ok(LogFormat::Pretty),
            _ => Err("must be json or pretty".to_owned()),
        }
    }
}

/// Valid directives of tracing's `EnvFilter`.
#[derive(Debug, Clone)]
pub struct Filter(String);

impl Filter {
    fn build(&self) -> EnvFilter {
        // Of two directives for the same target, the later one wins.
        let directives = format!("{QUIET},{}", self.0);
        EnvFilter::builder()
            .parse(directives)
            .expect("both parts were parsed before")
    }
}

impl Value for Filter {
    fn parse(_: &str, text: &str) -> Result<Filter, String> {
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Filter(text.to_owned())),
            Err(_) => Err("must be directives of tracing's EnvFilter".to_owned()),
        }
    }
}

/// Reason why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The collector's address is invalid.
    #[error("cannot create the trace exporter (OTEL_EXPORTER_OTLP_ENDPOINT)")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
}

/// Handle that ends telemetry. Keep it until the last span has ended.
#[derive(Debug)]
#[must_use = "without shutdown, the last spans are lost"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

/// Installs logs, traces (spans of tracing and of `opentelemetry::global`) and the W3C trace context propagator.
///
/// Must be called within a runtime, because the exporter's connection runs there. A subscriber that is already
/// installed, as in tests, is kept.
///
/// # Errors
/// Returns [`Error::Exporter`] if the collector's address is invalid.
pub fn init(service: &'static str, version: &'static str, instance: Uuid, config: &Config) -> Result<Guard, Error> {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = match &config.collector {
        Some(collector) => Some(provider(service, version, instance, collector, config.sample_ratio)?),
        None => None,
    };
    let spans = provider.as_ref().map(|provider| {
        // For spans that begin and end in different places, which tracing does not support.
        global::set_tracer_provider(provider.clone());
        let scope = InstrumentationScope::builder("rollcall")
            .with_version(version)
            .with_schema_url(SCHEMA_URL);
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer_with_scope(scope.build()))
            .with_threads(false)
            .with_location(false)
            .with_filter(dynamic_filter_fn(|metadata, _| exported(metadata)))
    });
    let subscriber = tracing_subscriber::registry().with(spans).with(lines(config, service));
    if subscriber.try_init().is_err() {
        tracing::debug!("a subscriber is installed already");
    }
    Ok(Guard { provider })
}

impl Guard {
    /// Sends the remaining spans, for at most `timeout`.
    pub async fn shutdown(self, timeout: Duration) {
        let Some(provider) = self.provider else { return };
        // On a blocking thread, because the call blocks while its connection needs the runtime.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(timeout));
        match tokio::time::timeout(timeout, flushed).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last spans may be lost: {error}"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the last spans may be lost: they were not sent within {timeout:?}"),
        }
    }
}

fn provider(
    service: &'static str,
    version: &'static str,
    instance: Uuid,
    collector: &Url,
    sample_ratio: f64,
) -> Result<SdkTracerProvider, Error> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(collector.as_str());
    let exporter = exporter.build().map_err(Error::Exporter)?;
    // The default detectors add telemetry.sdk.* and OTEL_RESOURCE_ATTRIBUTES, e.g. deployment.environment.name.
    let resource = Resource::builder()
        .with_attributes([
            KeyValue::new("service.namespace", "rollcall"),
            KeyValue::new("service.name", service),
            KeyValue::new("service.version", version),
            KeyValue::new("service.instance.id", instance.to_string()),
        ])
        .with_schema_url([], SCHEMA_URL)
        .build();
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio))))
        .with_batch_exporter(export::LoggingExporter::new(exporter, collector))
        .build())
}

/// Returns `true` for spans down to `info`, regardless of `RUST_LOG`, and for events down to `warn`.
///
/// Excludes the crates that the exporter uses, because their spans would be exported in a loop.
fn exported(metadata: &Metadata<'_>) -> bool {
    let finest = if metadata.is_span() { Level::INFO } else { Level::WARN };
    let used_by_exporter = ["h2", "hyper", "hyper_util", "tonic", "tower", "opentelemetry"];
    let krate = metadata.target().split("::").next().unwrap_or_default();
    metadata.level() <= &finest && !used_by_exporter.contains(&krate)
}

fn lines<S>(config: &Config, service: &'static str) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let filter = per_event::PerEvent(config.filter.build());
    let lines = fmt::layer().with_writer(std::io::stderr);
    match config.format {
        LogFormat::Json => {
            let lines = lines.fmt_fields(fmt::format::JsonFields::new());
            lines.event_format(json::Json::new(service)).with_filter(filter).boxed()
        }
        LogFormat::Pretty => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_filter(filter)
            .boxed(),
    }
}
