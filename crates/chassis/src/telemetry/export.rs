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
