#![doc = include_str!("../README.md")]

mod dead_letters;
mod delivery_log;
mod documents;
mod error;
mod inbox;
mod leases;
mod maintenance;
mod ops_queries;
mod outbox;
mod parked;
mod pending;
mod pool;
mod position;
mod sequences;
mod setup;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use chassis::metrics::register_pool;
use messaging::ledger::{StoreError, StoreErrorKind, Transactions as _};
use mongodb::bson::{self, doc};
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Collection, Database};
use uuid::Uuid;

use crate::pool::Pool;

pub use error::{Error, store_error};
pub use setup::index;
pub use transactions::{Tx, Update};

/// How long a statement waits for a server to be there.
const SERVER_SELECTION: Duration = Duration::from_secs(3);
/// A server that answers no heartbeat for this long, twice, is given up; statements that wait for it fail.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long a write waits for its majority. Later it may be there or not, as after a lost connection.
const MAJORITY: Duration = Duration::from_secs(10);
const CONNECTIONS: u32 = 16;

/// One service's database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Mongo {
    client: Client,
    database: Database,
    pool: Arc<Pool>,
}

impl Mongo {
    /// Connects to the database that the URL's path names. What is read outside of a transaction is
    /// majority-committed; what is written is majority-committed and journaled when the statement returns.
    ///
    /// `Unavailable` where no server answers, `Broken` where the URL can't be used.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let broken = |source| StoreError::new(StoreErrorKind::Broken, source);
        // The parser's own message may repeat a part of the password.
        let mut options = ClientOptions::parse(url)
            .await
            .map_err(|_| broken("the URL must be mongodb://user:password@host/database"))?;
        let name = options
            .default_database
            .clone()
            .ok_or_else(|| broken("the URL must name a database: mongodb://host/database"))?;
        options.app_name = Some(app_name(&name));
        options.server_selection_timeout = Some(SERVER_SELECTION);
        options.heartbeat_freq = Some(HEARTBEAT);
        options.connect_timeout = Some(HEARTBEAT);
        options.max_pool_size.get_or_insert(CONNECTIONS);
        options.read_concern = Some(ReadConcern::majority());
        options.write_concern = Some(durable());
        let pool = Arc::new(Pool::default());
        options.cmap_event_handler = Some(pool.handler());
        let client = Client::with_options(options).map_err(store_error)?;
        let mongo = Self {
            database: client.database(&name),
            client,
            pool,
        };
        mongo.ping().await?;
        Ok(mongo)
    }

    /// Shows the pool in the process's metrics.
    pub fn register_metrics(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        let pool = Arc::clone(&self.pool);
        register_pool(registry, move || pool.connections())
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    pub fn collection<T: Send + Sync>(&self, name: &str) -> Collection<T> {
        self.database.collection(name)
    }
}

/// Majority and journaled: what a fail-over or a crash would take back is not yet written.
fn durable() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(MAJORITY)
        .build()
}

/// Shown by the server for every session, so that those of one service can be told from the others'.
fn app_name(database: &str) -> String {
    format!("rollcall/{database}")
}

/// A UUID as BSON keeps it (binary, subtype 4).
pub fn to_bson(id: Uuid) -> bson::Uuid {
    bson::Uuid::from_bytes(id.into_bytes())
}

/// A UUID as the rest of Rollcall has it.
pub fn from_bson(id: bson::Uuid) -> Uuid {
    Uuid::from_bytes(id.bytes())
}
