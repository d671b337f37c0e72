//! A separate Postgres database for each test, copied from a template.

use std::time::Duration;

use bytes::Bytes;
use contracts::{DeadLetterReason, Timestamp};
use futures::future::BoxFuture;
use messaging::ledger::{DeadLetter, OutboxMessage, Parked};
use messaging::{Headers, Record, TopicPartition};
use postgres::Postgres;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, Decode, Executor as _, Row as _, Type};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::inside::Inside;
use crate::{env, janitor};

const PREFIX: &str = "rollcall_test_";
/// Age after which a later test process drops the databases of a test process that was killed.
const STALE: Duration = Duration::from_secs(60 * 60);
/// Number of connections for two workers, a release and a query of the test at the same time.
const CONNECTIONS: u32 = 12;

/// A migrated database. It is dropped with this value.
pub struct PostgresDatabase {
    name: String,
    ledger: Postgres,
    inside: Postgres,
}

/// Creates a database with the tables of the ledger and of the service.
pub async fn postgres(migrations: &Migrator) -> PostgresDatabase {
    env(); // a missing variable must panic in the test, not in the janitor's thread
    let template = Template::of(migrations);
    let name = format!("{PREFIX}{}", Uuid::now_v7().simple());
    let copy = name.clone();
    janitor::run(async move { template.copy(&copy).await }).await;
    let connect = async |connections| {
        let connected = Postgres::connect(url(&name).as_str(), connections).await;
        connected.expect("the new database is reachable")
    };
    let (ledger, inside) = (connect(1).await, connect(CONNECTIONS).await);
    PostgresDatabase { name, ledger, inside }
}

impl PostgresDatabase {
    /// Returns the ledger of a service's process. It has one connection, because a query on the pool while a transaction holds
    /// that connection then fails the test, instead of exhausting the pool of a service under load.
    pub fn ledger(&self) -> Postgres {
        self.ledger.clone()
    }

    /// Returns the same ledger with connections for several transactions at the same time.
    pub fn inside(&self) -> Postgres {
        self.inside.clone()
    }

    /// Returns a pool for the test's own queries.
    pub fn pool(&self) -> &PgPool {
        self.inside.pool()
    }

    /// Returns the URL, for code that opens its own connection.
    pub fn url(&self) -> String {
        url(&self.name)
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        let name = self.name.clone();
        janitor::run_blocking(async move { drop_database(admin().await, &name).await });
    }
}

/// The database that others are copied from. Its name contains a hash of the migrations, so changed migrations lead
/// to another template.
struct Template {
    name: String,
    migrations: Migrator,
}

impl Template {
    fn of(migrations: &Migrator) -> Self {
        let all = Postgres::ledger_migrations().iter().chain(migrations.iter());
        // FNV-1a over the checksums, because it is stable from run to run.
        let hash = all
            .flat_map(|migration| migration.checksum.iter())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Self {
            name: format!("rollcall_template_{hash:016x}"),
            migrations: Migrator {
                migrations: migrations.migrations.clone(),
                ..Migrator::DEFAULT
            },
        }
    }

    async fn copy(&self, name: &str) {
        let admin = admin().await;
        let statement = format!("CREATE DATABASE {name} TEMPLATE {}", self.name);
        match admin.execute(statement.as_str()).await {
            Ok(_) => return,
            // invalid_catalog_name: the first test with these migrations creates the template.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("3D000") => {}
            Err(error) => panic!("the database of the test cannot be created: {error}"),
        }
        self.create().await;
        admin
            .execute(statement.as_str())
            .await
            .expect("a database is copied from the template");
    }

    /// Creates the template. Tests of several processes may need it at the same time: one of them creates it, under another
    /// name until it is complete.
    async fn create(&self) {
        let mut admin = admin_options()
            .connect()
            .await
            .expect("the server of POSTGRES_ADMIN_URL is reachable");
        let lock = "SELECT pg_advisory_lock(hashtext('rollcall.template'))";
        admin.execute(lock).await.expect("a lock can be taken");
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)")
            .bind(&self.name)
            .fetch_one(&mut admin)
            .await
            .expect("the catalogue can be read");
        if !exists {
            let unfinished = format!("{}_unfinished", self.name);
            let drop = format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)");
            admin
                .execute(drop.as_str())
                .await
                .expect("an unfinished template can be dropped");
            let create = format!("CREATE DATABASE {unfinished}");
            admin
                .execute(create.as_str())
                .await
                .expect("the user of POSTGRES_ADMIN_URL can create databases");
            let ledger = Postgres::connect(&url(&unfinished), 1)
                .await
                .expect("the new template is reachable");
            ledger
                .migrate(&self.migrations)
                .await
                .unwrap_or_else(|error| panic!("the migrations fail: {error:?}"));
            // A template with connections cannot be copied.
            ledger.pool().close().await;
            let rename = format!("ALTER DATABASE {unfinished} RENAME TO {}", self.name);
            admin
                .execute(rename.as_str())
                .await
                .expect("the template can be renamed");
        }
        // This also releases the lock.
        admin.close().await.expect("a connection can be closed");
    }
}

fn admin_options() -> PgConnectOptions {
    env()
        .postgres_admin_url
        .parse()
        .expect("POSTGRES_ADMIN_URL is a Postgres URL")
}

fn url(database: &str) -> String {
    admin_options().database(database).to_url_lossy().to_string()
}

/// Returns the connections of the janitor. The first call also drops stale databases.
async fn admin() -> &'static PgPool {
    static ADMIN: OnceCell<PgPool> = OnceCell::const_new();
    ADMIN
        .get_or_init(|| async {
            let pool = PgPoolOptions::new()
                .max_connections(4)
                .connect_with(admin_options())
                .await
                .unwrap_or_else(|error| panic!("the server of POSTGRES_ADMIN_URL is unreachable: {error}"));
            drop_stale(&pool).await;
            pool
        })
        .await
}

async fn drop_stale(admin: &PgPool) {
    let names: Vec<String> = sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)")
        .bind(PREFIX)
        .fetch_all(admin)
        .await
        .expect("the catalogue can be read");
    for name in names {
        if crate::is_stale(&name[PREFIX.len()..], STALE) {
            drop_database(admin, &name).await;
        }
    }
}

async fn drop_database(admin: &PgPool, name: &str) {
    let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    if let Err(error) = admin.execute(statement.as_str()).await {
        eprintln!("the test database {name} was not dropped: {error}");
    }
}

impl Inside for Postgres {
    fn parked_records(&self) -> BoxFuture<'_, Vec<Parked>> {
        Box::pin(async {
            let rows = fetch(
                self,
                r#"SELECT key, sequence, message_id, error, topic, partition, "offset", said_at, value, headers
                   FROM parked ORDER BY topic, key, sequence"#,
            )
            .await;
            rows.iter()
                .map(|row| Parked {
                    key: get(row, "key"),
                    sequence: get(row, "sequence"),
                    id: get(row, "message_id"),
                    record: record(row, Some(get::<Uuid>(row, "key").to_string().into())),
                    error: get(row, "error"),
                })
                .collect()
        })
    }

    fn dead_letters(&self) -> BoxFuture<'_, Vec<DeadLetter>> {
        Box::pin(async {
            let rows = fetch(
                self,
                r#"SELECT id, reason, detail, key, topic, partition, "offset", said_at, value, headers
                   FROM dead_letters ORDER BY id"#,
            )
            .await;
            rows.iter()
                .map(|row| DeadLetter {
                    id: get(row, "id"),
                    reason: reason(get(row, "reason")),
                    detail: get(row, "detail"),
                    record: record(row, get::<Option<Vec<u8>>>(row, "key").map(Bytes::from)),
                })
                .collect()
        })
    }

    fn delayed(&self) -> BoxFuture<'_, Vec<OutboxMessage>> {
        Box::pin(async {
            let rows = fetch(
                self,
                "SELECT topic, key, value, headers, due_at FROM delayed ORDER BY due_at, id",
            )
            .await;
            rows.iter().map(outbox_message).collect()
        })
    }

    fn take_delayed(&self) -> BoxFuture<'_, Vec<OutboxMessage>> {
        Box::pin(async {
            let statement = "WITH taken AS (DELETE FROM delayed RETURNING id, topic, key, value, headers, due_at)
                 SELECT topic, key, value, headers, due_at FROM taken ORDER BY due_at, id";
            let rows = fetch(self, statement).await;
            rows.iter().map(outbox_message).collect()
        })
    }

    fn outbox(&self) -> BoxFuture<'_, Vec<(Uuid, OutboxMessage)>> {
        Box::pin(async {
            let rows = fetch(
                self,
                "SELECT owner, topic, key, value, headers, NULL::timestamptz AS due_at FROM outbox ORDER BY id",
            )
            .await;
            rows.iter()
                .map(|row| (get(row, "owner"), outbox_message(row)))
                .collect()
        })
    }

    fn inbox_entries(&self) -> BoxFuture<'_, i64> {
        Box::pin(async {
            get(
                &fetch(self, "SELECT count(*) AS entries FROM inbox").await[0],
                "entries",
            )
        })
    }

    fn acknowledged_offsets(&self) -> BoxFuture<'_, Vec<(TopicPartition, i64)>> {
        Box::pin(async {
            let rows = fetch(
                self,
                r#"SELECT topic, partition, "offset" FROM relay_offsets ORDER BY topic, partition"#,
            )
            .await;
            rows.iter().map(|row| (partition(row), get(row, "offset"))).collect()
        })
    }
}

async fn fetch(ledger: &Postgres, statement: &str) -> Vec<PgRow> {
    sqlx::query(statement)
        .fetch_all(ledger.pool())
        .await
        .expect("the ledger's tables can be read")
}

/// Returns a column of a row.
pub(crate) fn get<'r, T>(row: &'r PgRow, column: &str) -> T
where
    T: Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>,
{
    row.try_get(column).expect("the column has this type")
}

fn partition(row: &PgRow) -> TopicPartition {
    TopicPartition::new(get::<String>(row, "topic"), get(row, "partition"))
}

fn record(row: &PgRow, key: Option<Bytes>) -> Record {
    Record {
        partition: partition(row),
        offset: get(row, "offset"),
        timestamp: Timestamp::from_micros(get::<chrono::DateTime<chrono::Utc>>(row, "said_at").timestamp_micros())
            .expect("the column was written from a timestamp"),
        key,
        value: get::<Option<Vec<u8>>>(row, "value").map(Bytes::from),
        headers: headers(row),
    }
}

fn headers(row: &PgRow) -> Headers {
    Headers::from_json(get(row, "headers")).expect("the column was written from headers")
}

fn outbox_message(row: &PgRow) -> OutboxMessage {
    OutboxMessage {
        topic: get(row, "topic"),
        key: get(row, "key"),
        value: get::<Option<Vec<u8>>>(row, "value").map(Bytes::from),
        headers: headers(row),
        due_at: get::<Option<chrono::DateTime<chrono::Utc>>>(row, "due_at").map(|time| {
            Timestamp::from_micros(time.timestamp_micros()).expect("the column was written from a timestamp")
        }),
    }
}

/// Parses a stored reason.
pub(crate) fn reason(text: &str) -> DeadLetterReason {
    const ALL: [DeadLetterReason; 8] = [
        DeadLetterReason::Undecodable,
        DeadLetterReason::UnknownType,
        DeadLetterReason::WrongKey,
        DeadLetterReason::Poison,
        DeadLetterReason::Expired,
        DeadLetterReason::MalformedEnvelope,
        DeadLetterReason::Fork,
        DeadLetterReason::Unknown,
    ];
    ALL.into_iter()
        .find(|reason| format!("{reason:?}") == text)
        .unwrap_or_else(|| panic!("{text} is not a reason"))
}
