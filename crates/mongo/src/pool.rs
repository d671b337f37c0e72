//! The number of connections, counted by the events of the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chassis::metrics::PoolConnections;
use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;

/// The connections that the driver has opened, and those of them that are in use.
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

    pub(crate) fn connections(&self) -> PoolConnections {
        let used = self.used.load(Ordering::Relaxed);
        let open = self.open.load(Ordering::Relaxed);
        PoolConnections {
            used,
            idle: (open - used).max(0),
        }
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
