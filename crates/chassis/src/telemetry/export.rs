//! Says once that traces get lost, and once that they don't any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use crate::settings::Url;

/// An exporter that logs when it begins to fail and when it recovers. The SDK's own messages, one a
/// failed batch, are compiled out.
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: E,
    collector: Url,
    failing: AtomicBool,
}

impl<E> Watched<E> {
    pub(super) fn new(exporter: E, collector: &Url) -> Watched<E> {
        let (collector, failing) = (collector.clone(), AtomicBool::new(false));
        Watched {
            exporter,
            collector,
            failing,
        }
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let was_failing = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !was_failing => {
                tracing::warn!(%error, "traces can't be sent to {:?}, and are dropped until they can", self.collector);
            }
            Ok(()) if was_failing => tracing::info!("traces are sent to {:?} again", self.collector),
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

    use super::Watched;
    use crate::settings::{Url, Value};

    /// Fails for every batch but each fourth.
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
    async fn an_outage_is_one_line_and_its_end_another() {
        let lines = Lines::default();
        let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
        let collector = Url::parse("", "http://collector:4317").expect("a URL");
        let exporter = Watched::new(Collector::default(), &collector);
        let mut seen = Vec::new();
        for _ in 0..8 {
            // The outcome is what the collector says, and not of interest here.
            let _ = exporter.export(Vec::new()).await;
            seen.push(lines.0.load(Ordering::Relaxed));
        }
        assert_eq!(seen, [1, 1, 1, 2, 3, 3, 3, 4]);
    }
}
