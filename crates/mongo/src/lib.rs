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
mod schema;
mod sequences;
mod setup;
mod transactions;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chassis::metrics::register_pool;
use messaging::ledger::{StoreError, StoreErrorKind, Transactions as _};
use mongodb::bson::{self, Document, doc};
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Collection, Database};
use uuid::Uuid;

use crate::pool::Pool;

pub use error::{Error, store_error};
pub use schema::{Schema, SchemaError, partial_index};
pub use setup::index;
pub use transactions::{Tx, Update};

/// Maximum time that a statement waits for an available server.
const SERVER_SELECTION: Duration = Duration::from_secs(3);
/// Interval and timeout of heartbeats. A server that misses two of them counts as unavailable, and the statements that wait
/// for it fail.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Maximum time that a write waits for its majority. After that, its outcome is unknown, as after a lost connection.
const MAJORITY: Duration = Duration::from_secs(10);
/// Maximum number of connections, unless the URL contains `maxPoolSize`.
const CONNECTIONS: u32 = 16;

/// The database of one service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Mongo {
    client: Client,
    database: Database,
    pool: Arc<Pool>,
    leasing: Arc<Leasing>,
}

/// One connection beside the pool, for the lease of the relay, which expires if it is not renewed in time. It is opened by
/// the first statement.
#[derive(Debug)]
struct Leasing {
    options: ClientOptions,
    client: OnceLock<Client>,
}

impl Leasing {
    fn client(&self) -> Result<&Client, StoreError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::with_options(self.options.clone()).map_err(store_error)?;
        Ok(self.client.get_or_init(|| client))
    }
}

impl Mongo {
    /// Connects to the database in the URL's path.
    ///
    /// Reads outside of a transaction return only majority-committed data. Writes are majority-committed and journaled when
    /// the statement returns.
    ///
    /// # Errors
    /// Returns an error of the kind `Unavailable` if no server responds, and of the kind `Broken` if the URL is invalid.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let broken = |source| StoreError::new(StoreErrorKind::Broken, source);
        // The parser's message is dropped, because it may contain a part of the password.
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
        let leasing = Arc::new(Leasing {
            options: options.clone(),
            client: OnceLock::new(),
        });
        options.cmap_event_handler = Some(pool.handler());
        let client = Client::with_options(options).map_err(store_error)?;
        let mongo = Self {
            database: client.database(&name),
            client,
            pool,
            leasing,
        };
        mongo.ping().await?;
        Ok(mongo)
    }

    /// Registers the number of connections as a metric.
    ///
    /// # Errors
    /// Returns an error if the registry already has this metric.
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

    /// Returns the collection of the leases, on a separate connection.
    fn leases(&self) -> Result<Collection<Document>, StoreError> {
        let database = self.leasing.client()?.database(self.database.name());
        Ok(database.collection(leases::LEASES))
    }
}

/// Returns the write concern of all writes: majority and journaled, so neither a fail-over nor a crash undoes a
/// write.
fn durable() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(MAJORITY)
        .build()
}

/// Returns the write concern of writes whose loss causes duplicates and nothing else. They wait neither for the majority nor
/// for the journal.
fn fast() -> WriteConcern {
    WriteConcern::builder().w(Acknowledgment::Nodes(1)).build()
}

/// Returns the name that the server shows for every session, which identifies the sessions of one service.
fn app_name(database: &str) -> String {
    format!("rollcall/{database}")
}

/// Converts a UUID to BSON (binary, subtype 4).
pub fn to_bson(id: Uuid) -> bson::Uuid {
    bson::Uuid::from_bytes(id.into_bytes())
}

/// Converts a UUID from BSON.
pub fn from_bson(id: bson::Uuid) -> Uuid {
    Uuid::from_bytes(id.bytes())
}
