//! Logs to standard error, traces to an OpenTelemetry collector.
//!
//! Attribute names follow the OpenTelemetry semantic conventions, [`SEMCONV_VERSION`].

mod asked;
mod export;
mod json;

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

/// The version of the OpenTelemetry semantic conventions that names follow: the one that the crate
/// `opentelemetry-semantic-conventions` 0.33 has. It is in the schema URL of resources and spans.
pub const SEMCONV_VERSION: &str = "1.42.0";
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Says more than anybody wants at `info`. `RUST_LOG` can name any of them again.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,librdkafka=warn,mongodb=warn,rdkafka=warn,reqwest=warn,\
                     rustls=warn,sqlx::query=warn,tonic=warn,tower=warn";

/// What is logged, and where traces go.
#[derive(Debug, Clone)]
pub struct Config {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines are written.
    pub filter: Filter,
    /// `None`: no traces.
    pub collector: Option<Url>,
    /// The share of traces begun here that are kept; those begun elsewhere follow their parent.
    pub sample_ratio: f64,
}

impl Config {
    /// `LOG_FORMAT`, `RUST_LOG`, `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER_ARG`.
    pub fn from_settings(read: &mut Reader) -> Config {
        let config = Config {
            format: read.or("LOG_FORMAT", "json", "json, or pretty for people"),
            filter: read.or(
                "RUST_LOG",
                "info",
                "which log lines are written, as in tracing's EnvFilter",
            ),
            collector: read.optional(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "http://127.0.0.1:4317",
                "where traces go, OTLP over gRPC; without it there are none",
            ),
            sample_ratio: read.or(
                "OTEL_TRACES_SAMPLER_ARG",
                "1",
                "the share of new traces that is kept, 0 to 1",
            ),
        };
        if config.collector.as_ref().is_some_and(|url| url.scheme() != "http") {
            read.problem(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "must begin with http://, as TLS is left to the collector beside",
            );
        }
        if !(0.0..=1.0).contains(&config.sample_ratio) {
            read.problem("OTEL_TRACES_SAMPLER_ARG", "must be from 0 to 1");
        }
        config
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One object a line, with the trace's id inside a span.
    Json,
    /// Coloured on a terminal.
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

/// Directives of tracing's `EnvFilter`, known to be valid.
#[derive(Debug, Clone)]
pub struct Filter(String);

impl Filter {
    fn build(&self) -> EnvFilter {
        // Of two directives for one target, the later one counts.
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

/// Telemetry can't begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The collector's address is none.
    #[error("the trace exporter can't be made")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
}

/// Ends telemetry. Keep it until nothing is left to be said.
#[derive(Debug)]
#[must_use = "without shutdown, the last spans are lost"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

/// Installs the process's logs and traces (tracing's spans, and `opentelemetry::global`'s), and the W3C trace
/// context propagator. Must be called within a
/// runtime, as the exporter's connection lives there. If a subscriber is installed already, as in tests,
/// it stays.
pub fn init(service: &'static str, version: &'static str, instance: Uuid, config: &Config) -> Result<Guard, Error> {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = match &config.collector {
        Some(collector) => Some(provider(service, version, instance, collector, config.sample_ratio)?),
        None => None,
    };
    let spans = provider.as_ref().map(|provider| {
        // For spans that begin and end in different places, which tracing's can't.
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
    /// Sends what spans are left, for as long as `deadline`.
    pub async fn shutdown(self, deadline: Duration) {
        let Some(provider) = self.provider else { return };
        // It blocks its thread, and needs the runtime for its connection meanwhile.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(deadline));
        match tokio::time::timeout(deadline, flushed).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last spans may be lost"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the last spans may be lost: they were not sent in {deadline:?}"),
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
        .with_batch_exporter(export::Watched::new(exporter, collector))
        .build())
}

/// Spans as fine as `info`, whatever `RUST_LOG` says about lines; of the lines in them only warnings and
/// errors; and nothing from the crates below the exporter, which would export itself.
fn exported(metadata: &Metadata<'_>) -> bool {
    let finest = if metadata.is_span() { Level::INFO } else { Level::WARN };
    let below = ["h2", "hyper", "hyper_util", "tonic", "tower", "opentelemetry"];
    let krate = metadata.target().split("::").next().unwrap_or_default();
    metadata.level() <= &finest && !below.contains(&krate)
}

fn lines<S>(config: &Config, service: &'static str) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let filter = asked::Asked(config.filter.build());
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
