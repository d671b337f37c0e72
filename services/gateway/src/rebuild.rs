//! Rebuilds read models from their topics. The regular handlers fill a shadow read model, whose rows then replace those of
//! the live one. Readers do not wait.

mod filling;
mod projections;

use std::time::{Duration, Instant};

use chassis::error_chain;
use chassis::settings::Url;
use contracts::aggregate::Rejection;
use contracts::{Codec, OpsCommand};
use messaging::{Failure, OPS_TIME_LIMIT, OpsHandler, OpsOutcome, Received, Subscriptions, Unit, read};
use postgres::Postgres;
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;

use crate::store::shadow::{self, Difference};
use filling::Shadow;
use projections::{BOOKKEEPING, PROJECTIONS, Projection};

/// Number of records by which the shadow may be behind when the live read model is locked, so the lock is short.
const CATCH_UP_RECORDS: i64 = 500;
/// Maximum duration of a rebuild. It is shorter than the time limit of the command's transaction, because the command would
/// be processed again after that limit.
const TIME_LIMIT: Duration = OPS_TIME_LIMIT.saturating_sub(Duration::from_secs(60));

/// Handles the ops command `Replay`.
pub struct Rebuild {
    pub database: Url,
    pub messaging: messaging::Settings,
    /// The codec of the process, which already knows the schema ids.
    pub codec: Codec,
    /// The subscriptions whose handlers fill the read models.
    pub subscriptions: Subscriptions<Postgres>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the database failed")]
    Store(#[from] sqlx::Error),
    #[error(transparent)]
    Connect(#[from] postgres::Error),
    #[error(transparent)]
    Log(#[from] read::Error),
    #[error("cannot fill the shadow read model")]
    Shadow(#[from] filling::Error),
    #[error("the rebuild exceeded its time limit of {} minutes", TIME_LIMIT.as_secs() / 60)]
    TooLong,
}

/// The result of a rebuild.
#[derive(Debug, Serialize)]
struct Report {
    projection: &'static str,
    /// Number of records that were read.
    records: i64,
    seconds: f64,
    /// The differences between the live read model and its topic before the rebuild.
    tables: Vec<Difference>,
}

impl OpsHandler<Postgres> for Rebuild {
    async fn handle(&self, _: &mut Unit<Postgres>, command: &Received<OpsCommand>) -> Result<OpsOutcome, Failure> {
        let OpsCommand::Replay(replay) = &command.body else {
            return Ok(OpsOutcome::Unhandled);
        };
        let Some(projection) = PROJECTIONS
            .iter()
            .find(|projection| projection.name == replay.projection)
        else {
            let names: Vec<_> = PROJECTIONS.iter().map(|projection| projection.name).collect();
            let detail = format!(
                "Projection {} does not exist. The projections are {}.",
                replay.projection,
                names.join(", ")
            );
            return Ok(OpsOutcome::Rejected(Rejection::new("projection-unknown", detail)));
        };
        match self.run(projection).await {
            Ok(report) => Ok(OpsOutcome::Done(json!(report))),
            // A failure is rejected instead of retried, because other ops commands wait for this one. The operator may repeat
            // the command.
            Err(error) => {
                let detail = error_chain(&error);
                tracing::error!(
                    projection = projection.name,
                    error = detail,
                    "cannot rebuild the read model {}: {detail}",
                    projection.name
                );
                Ok(OpsOutcome::Rejected(Rejection::new("not-rebuilt", detail)))
            }
        }
    }
}

impl Rebuild {
    /// Rebuilds a projection over a separate connection, because the transaction of the command holds one of the pool.
    async fn run(&self, projection: &Projection) -> Result<Report, Error> {
        let schema = format!("rebuild_{}", projection.name);
        let database = Postgres::connect(self.database.as_str(), 1).await?;
        let pool = database.pool();
        let rebuilt = tokio::time::timeout(TIME_LIMIT, self.rebuild(pool, projection, &schema)).await;
        let rebuilt = rebuilt.unwrap_or(Err(Error::TooLong));
        if rebuilt.is_err()
            && let Err(error) = shadow::drop(pool, &schema).await
        {
            tracing::warn!(
                %error,
                schema,
                "cannot drop the schema {schema}; it will stay until the next rebuild of this projection: {error}"
            );
        }
        pool.close().await;
        rebuilt
    }

    /// The live tables are not changed before the last transaction.
    async fn rebuild(&self, pool: &PgPool, projection: &Projection, schema: &str) -> Result<Report, Error> {
        let started = Instant::now();
        let kafka = &self.messaging.kafka;
        let topic = projection.topic.full_name(&kafka.topic_prefix);
        tracing::info!(
            projection = projection.name,
            topic,
            "rebuilding the read model {} from topic {topic}",
            projection.name
        );
        shadow::create(pool, schema).await?;
        let beginnings = read::beginnings(kafka, &topic).await?;
        let mut shadow = Shadow::open(self, projection, schema, beginnings.clone()).await?;
        while shadow.catch_up(&shadow::positions(pool, &topic).await?).await? > CATCH_UP_RECORDS {}

        // From here on the live read model does not change. Readers see its current rows.
        let mut tx = postgres::Tx::begin(pool).await?;
        let live = shadow::lock_positions(&mut tx, &topic, &beginnings).await?;
        shadow.catch_up(&live).await?;
        let mut tables = Vec::new();
        for table in projection.tables() {
            tables.push(shadow::replace_rows(&mut tx, schema, &topic, table).await?);
        }
        // The sequences and the parked messages must match the rows, and those of the shadow may differ from the live ones.
        for table in BOOKKEEPING {
            shadow::replace_rows(&mut tx, schema, &topic, table).await?;
        }
        tx.commit().await?;
        let records = shadow.close().await;
        shadow::drop(pool, schema).await?;
        let report = Report {
            projection: projection.name,
            records,
            seconds: started.elapsed().as_secs_f64(),
            tables,
        };
        tracing::info!(
            projection = projection.name,
            records,
            report = %json!(report),
            "rebuilt the read model {} from {records} records",
            projection.name
        );
        Ok(report)
    }
}
