//! Logs the beginning and the end of an outage of the trace collector.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use crate::settings::Url;

/// An exporter that logs when it begins to fail and when it recovers.
///
/// The SDK's own messages, one per failed batch, are disabled at compile time.
#[derive(Debug)]
pub(super) struct LoggingExporter<E> {
    exporter: E,
    collector: Url,
    failing: AtomicBool,
}

impl<E> LoggingExporter<E> {
    pub(super) fn new(exporter: E, collector: &Url) -> LoggingExporter<E> {
        let (collector, failing) = (collector.clone(), AtomicBool::new(false));
        LoggingExporter {
            exporter,
            collector,
            failing,
        }
    }
}

impl<E: SpanExporter> SpanExporter for LoggingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let was_failing = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !was_failing => {
                tracing::warn!(%error, "cannot send traces to {:?}; they will be dropped until the collector recovers", self.collector);
            }
            Ok(()) if was_failing => tracing::info!("sending traces to {:?} again", self.collector),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
    use opentelemetry_sdk::trace::{SpanData, SpanExporter};
    use tracing::{Event, Subscriber};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    use super::LoggingExporter;
    use crate::settings::{Url, Value};

    /// Accepts every fourth batch, and fails for all others.
    #[derive(Debug, Default)]
    struct Collector(AtomicUsize);

    impl SpanExporter for Collector {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            match self.0.fetch_add(1, Ordering::Relaxed) % 4 {
                3 => Ok(()),
                _ => Err(OTelSdkError::InternalFailure("connection refused".to_owned())),
            }
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn an_outage_logs_one_line_at_its_beginning_and_one_at_its_end() {
        let lines = Lines::default();
        let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
        let collector = Url::parse("", "http://collector:4317").expect("a URL");
        let exporter = LoggingExporter::new(Collector::default(), &collector);
        let mut seen = Vec::new();
        for _ in 0..8 {
            // The result is that of the collector, which this test does not check.
            let _ = exporter.export(Vec::new()).await;
            seen.push(lines.0.load(Ordering::Relaxed));
        }
        assert_eq!(seen, [1, 1, 1, 2, 3, 3, 3, 4]);
    }
}
