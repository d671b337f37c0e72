//! The connection pool, read whenever Prometheus asks.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use sqlx::PgPool;

pub(crate) struct PoolMetrics {
    pool: PgPool,
    connections: IntGaugeVec,
}

impl PoolMetrics {
    pub(crate) fn new(pool: PgPool) -> Result<Self, prometheus::Error> {
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
        let idle = i64::try_from(self.pool.num_idle()).unwrap_or(i64::MAX);
        let open = i64::from(self.pool.size());
        self.connections.with_label_values(&["idle"]).set(idle);
        self.connections.with_label_values(&["used"]).set((open - idle).max(0));
        self.connections.collect()
    }
}
