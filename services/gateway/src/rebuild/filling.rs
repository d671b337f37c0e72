//! Fills a shadow read model: the regular handlers and the regular pipeline write to tables that no request reads.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use contracts::Registry;
use messaging::ledger::StoreError;
use messaging::{Lane, Messaging, Metrics, TopicPartition, kafka, read};
use postgres::Postgres;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio_util::sync::CancellationToken;

use super::Rebuild;
use super::projections::Projection;

/// Maximum number of records in one transaction.
const BATCH: usize = 500;
/// Interval between two progress reports in the log.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct Shadow {
    kafka: kafka::Settings,
    pool: PgPool,
    partitions: Vec<Partition>,
    records: i64,
    // Messages of the lanes go to the outbox of the shadow, which no relay reads.
    _connected: Messaging<Postgres>,
}

struct Partition {
    name: TopicPartition,
    lane: Lane<Postgres>,
    /// The next record to read.
    next: i64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the database failed")]
    Store(#[from] sqlx::Error),
    #[error("the ledger failed")]
    Ledger(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] read::Error),
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    #[error("a lane stopped unexpectedly")]
    Stopped,
}

impl Shadow {
    /// Creates a lane for each partition. The lanes see only the tables of `schema`.
    pub(super) async fn open(
        rebuild: &Rebuild,
        projection: &Projection,
        schema: &str,
        beginnings: Vec<(TopicPartition, i64)>,
    ) -> Result<Self, Error> {
        let options: PgConnectOptions = rebuild.database.as_str().parse()?;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_with(options.options([("search_path", schema)]))
            .await?;
        let connected = Messaging::with_codec(
            "gateway",
            rebuild.messaging.kafka.clone(),
            Postgres::from_pool(pool.clone()),
            Metrics::register(&prometheus::Registry::new())?,
            rebuild.codec.clone(),
            Some(Registry::new(rebuild.messaging.registry.as_str())),
        );
        let mut partitions = Vec::new();
        for (name, beginning) in beginnings {
            let lane = connected
                .lane(&rebuild.subscriptions, &[(projection.topic, name.partition)])
                .await?;
            partitions.push(Partition {
                name,
                lane,
                next: beginning,
            });
        }
        Ok(Self {
            kafka: rebuild.messaging.kafka.clone(),
            pool,
            partitions,
            records: 0,
            _connected: connected,
        })
    }

    /// Applies the records up to the positions of the live read model. Returns the number of records.
    pub(super) async fn catch_up(&mut self, live: &HashMap<i32, i64>) -> Result<i64, Error> {
        let stop = CancellationToken::new();
        let (before, mut reported) = (self.records, Instant::now());
        for partition in &mut self.partitions {
            let Some(until) = live.get(&partition.name.partition).copied() else {
                continue;
            };
            let mut batches = read::read(&self.kafka, partition.name.clone(), partition.next, until, BATCH);
            while let Some(batch) = batches.recv().await {
                let batch = batch?;
                self.records += i64::try_from(batch.len()).unwrap_or(i64::MAX);
                partition.next = batch.last().map_or(partition.next, |record| record.offset + 1);
                let processed = partition.lane.process(batch, &stop).await;
                processed.map_err(|_| Error::Stopped)?;
                if reported.elapsed() >= REPORT_INTERVAL {
                    reported = Instant::now();
                    tracing::info!(
                        records = self.records,
                        partition = %partition.name,
                        next = partition.next,
                        until,
                        "rebuilding the read model: {} records applied",
                        self.records
                    );
                }
            }
        }
        Ok(self.records - before)
    }

    /// Closes the connections, because the schema cannot be dropped before. Returns the total number of records.
    pub(super) async fn close(self) -> i64 {
        self.pool.close().await;
        self.records
    }
}
