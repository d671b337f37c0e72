use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts, Registry};

/// The open connections of a database pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConnections {
    /// Connections that a caller holds.
    pub used: i64,
    /// Connections that wait for a caller.
    pub idle: i64,
}

/// Registers `rollcall_pool_connections`, which calls `count` for each scrape.
///
/// # Errors
/// Returns an error if the registry already has this metric.
pub fn register_pool(
    registry: &Registry,
    count: impl Fn() -> PoolConnections + Send + Sync + 'static,
) -> prometheus::Result<()> {
    let options = Opts::new(
        "rollcall_pool_connections",
        "Connections of the database pool, by state",
    );
    registry.register(Box::new(PoolMetrics {
        connections: IntGaugeVec::new(options, &["state"])?,
        count,
    }))
}

struct PoolMetrics<F> {
    connections: IntGaugeVec,
    count: F,
}

impl<F: Fn() -> PoolConnections + Send + Sync> Collector for PoolMetrics<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.connections.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let PoolConnections { used, idle } = (self.count)();
        self.connections.with_label_values(&["used"]).set(used);
        self.connections.with_label_values(&["idle"]).set(idle);
        self.connections.collect()
    }
}
