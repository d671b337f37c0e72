//! The connection pool, counted by the driver's own events, read whenever Prometheus asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

/// What the driver has said of its connections.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    open: AtomicI64,
    used: AtomicI64,
}

impl Pool {
    pub(crate) fn handler(self: &Arc<Self>) -> EventHandler<CmapEvent> {
        let pool = Arc::clone(self);
        EventHandler::callback(move |event| pool.count(&event))
    }

    fn count(&self, event: &CmapEvent) {
        let (counter, change) = match event {
            CmapEvent::ConnectionCreated(_) => (&self.open, 1),
            CmapEvent::ConnectionClosed(_) => (&self.open, -1),
            CmapEvent::ConnectionCheckedOut(_) => (&self.used, 1),
            CmapEvent::ConnectionCheckedIn(_) => (&self.used, -1),
            _ => return,
        };
        counter.fetch_add(change, Ordering::Relaxed);
    }
}

pub(crate) struct PoolMetrics {
    pool: Arc<Pool>,
    connections: IntGaugeVec,
}

impl PoolMetrics {
    pub(crate) fn new(pool: Arc<Pool>) -> Result<Self, prometheus::Error> {
        let options = Opts::new(
            "rollcall_pool_connections",
            "Connections of the database pool, by state",
        );
        Ok(Self {
            pool,
            connections: IntGaugeVec::new(options, &["state"])?,
        })
    }
}

impl Collector for PoolMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.connections.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let used = self.pool.used.load(Ordering::Relaxed);
        let open = self.pool.open.load(Ordering::Relaxed);
        self.connections.with_label_values(&["used"]).set(used);
        self.connections.with_label_values(&["idle"]).set((open - used).max(0));
        self.connections.collect()
    }
}
