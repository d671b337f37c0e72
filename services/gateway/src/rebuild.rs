//! Read models made anew from their topics: by the same handlers, beside the live ones, and put in their place without
//! anybody waiting.

mod filling;
mod projections;

use std::time::{Duration, Instant};

use chassis::error_chain;
use contracts::OpsCommand;
use contracts::aggregate::Rejection;
use messaging::{Failure, OPS_TIME_LIMIT, OpsHandler, OpsOutcome, Received, Unit, kafka, read};
use postgres::Postgres;
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;

use crate::app::App;
use crate::config::Config;
use crate::store::shadow::{self, Difference};
use filling::Shadow;
use projections::{BOOKKEEPING, PROJECTIONS, Projection};

/// The live read model is held once the shadow was so close behind it: what is left is read in a moment.
const CLOSE: i64 = 500;
/// Below the time that an operation's own transaction may take: that would begin it again.
const LONGEST: Duration = OPS_TIME_LIMIT.saturating_sub(Duration::from_secs(60));

/// Where the logs and the shadows are.
#[derive(Debug, Clone)]
pub struct Endpoints {
    database: chassis::settings::Url,
    registry: chassis::settings::Url,
    kafka: kafka::Settings,
}

/// Does what `Replay` asks for.
pub struct Rebuild(pub App);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the database")]
    Store(#[from] sqlx::Error),
    #[error(transparent)]
    Connect(#[from] postgres::Error),
    #[error(transparent)]
    Log(#[from] read::Error),
    #[error("the shadow")]
    Shadow(#[from] filling::Error),
    #[error("it took longer than {} minutes", LONGEST.as_secs() / 60)]
    TooLong,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    projection: &'static str,
    /// That were read.
    records: i64,
    seconds: f64,
    /// In what the live read model differed from what its topic says. It does not any more.
    tables: Vec<Difference>,
}

impl Endpoints {
    pub fn of(config: &Config) -> Self {
        Self {
            database: config.database.clone(),
            registry: config.registry.clone(),
            kafka: config.kafka.clone(),
        }
    }
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
            let detail = format!("There is {}.", names.join(", "));
            return Ok(OpsOutcome::Rejected(Rejection::new("projection-unknown", detail)));
        };
        match self.run(projection).await {
            Ok(report) => Ok(OpsOutcome::Done(json!(report))),
            // Said, not tried for ever: other operations wait behind this one, and it may be repeated.
            Err(error) => {
                let detail = error_chain(&error);
                tracing::error!(
                    projection = projection.name,
                    error = detail,
                    "a read model was not rebuilt"
                );
                Ok(OpsOutcome::Rejected(Rejection::new("not-rebuilt", detail)))
            }
        }
    }
}

impl Rebuild {
    /// Over a separate connection, because the operation's transaction already holds one of the process's pool.
    async fn run(&self, projection: &Projection) -> Result<Report, Error> {
        let schema = format!("rebuild_{}", projection.name);
        let database = Postgres::connect(self.0.rebuild_endpoints().database.as_str(), 1).await?;
        let pool = database.pool();
        let rebuilt = tokio::time::timeout(LONGEST, self.rebuild(pool, projection, &schema)).await;
        let rebuilt = rebuilt.unwrap_or(Err(Error::TooLong));
        if rebuilt.is_err()
            && let Err(error) = shadow::drop(pool, &schema).await
        {
            tracing::warn!(%error, schema, "what was begun of it stays until it is tried again");
        }
        pool.close().await;
        rebuilt
    }

    /// Nothing that is live is touched before the last transaction.
    async fn rebuild(&self, pool: &PgPool, projection: &Projection, schema: &str) -> Result<Report, Error> {
        let begun = Instant::now();
        let endpoints = self.0.rebuild_endpoints();
        let topic = projection.topic.full_name(&endpoints.kafka.topic_prefix);
        tracing::info!(projection = projection.name, topic, "the read model is made anew");
        shadow::make(pool, schema).await?;
        let beginnings = read::beginnings(&endpoints.kafka, &topic).await?;
        let mut shadow = Shadow::open(&self.0, projection, schema, beginnings.clone()).await?;
        while shadow.catch_up(&shadow::positions(pool, &topic).await?).await? > CLOSE {}

        // From here on the live read model stands still, and its readers see what it held.
        let mut tx = pool.begin().await?;
        let live = shadow::hold(&mut tx, &topic, &beginnings).await?;
        shadow.catch_up(&live).await?;
        let mut tables = Vec::new();
        for table in projection.tables() {
            tables.push(shadow::swap(&mut tx, schema, &topic, table).await?);
        }
        // How far each key was applied goes with the rows: what is parked here may not be there, and vice versa.
        for table in BOOKKEEPING {
            shadow::swap(&mut tx, schema, &topic, table).await?;
        }
        tx.commit().await?;
        let records = shadow.close().await;
        shadow::drop(pool, schema).await?;
        let report = Report {
            projection: projection.name,
            records,
            seconds: begun.elapsed().as_secs_f64(),
            tables,
        };
        tracing::info!(projection = projection.name, records, report = %json!(report), "the read model is new");
        Ok(report)
    }
}
