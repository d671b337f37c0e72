//! A separate database for each test, dropped at its end.

use std::future::Future;
use std::time::Duration;

use contracts::Timestamp;
use messaging::ledger::{OutboxMessage, StoreError, StoreErrorKind, Transactions as _};
use messaging::{Headers, Record, TopicPartition};
use mongo::Mongo;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) struct TestDatabase {
    pub(crate) store: Mongo,
    name: String,
}

impl TestDatabase {
    pub(crate) async fn new() -> Self {
        let database = Self::bare().await;
        database.store.prepare().await.expect("the collections can be created");
        database
    }

    /// Creates a database without collections.
    pub(crate) async fn bare() -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let store = Mongo::connect(&url(&name)).await.expect("MongoDB is reachable");
        Self { store, name }
    }

    /// Returns another connection to the same database, like that of another process.
    pub(crate) async fn another(&self) -> Mongo {
        Mongo::connect(&url(&self.name)).await.expect("MongoDB is reachable")
    }

    /// Returns a store of the same database whose pool has one connection.
    pub(crate) async fn with_one_connection(&self) -> Mongo {
        let url = url(&self.name);
        let separator = if url.contains('?') { '&' } else { '?' };
        let store = Mongo::connect(&format!("{url}{separator}maxPoolSize=1")).await;
        store.expect("MongoDB is reachable")
    }

    /// Returns the URL of the same database at another address.
    pub(crate) fn url_at(&self, address: std::net::SocketAddr) -> String {
        format!("mongodb://{address}/{}?directConnection=true", self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let name = self.name.clone();
        // A separate thread, because the test's runtime may be single-threaded or shutting down.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let client = mongodb::Client::with_uri_str(url(&name)).await?;
                client.database(&name).drop().await?;
                client.shutdown().await;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        })
        .join();
        match dropped {
            Ok(Ok(())) => {}
            problem if std::thread::panicking() => eprintln!("the database {} was not dropped: {problem:?}", self.name),
            problem => panic!("the database {} was not dropped: {problem:?}", self.name),
        }
    }
}

fn server() -> String {
    std::env::var("MONGODB_URL").expect("MONGODB_URL is set: eval \"$(scripts/stack env)\"")
}

/// Returns the address of the server.
pub(crate) fn server_address() -> String {
    let server = server();
    let (_, rest) = server.split_once("://").expect("a URL");
    rest.split(['/', '?']).next().expect("a host").to_owned()
}

fn url(database: &str) -> String {
    match server().split_once("/?") {
        Some((host, options)) => format!("{host}/{database}?{options}"),
        None => format!("{}/{database}", server().trim_end_matches('/')),
    }
}

/// Repeats `attempt` until it returns a value, for at most ten seconds.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(Instant::now() < deadline, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs `body` in a transaction and commits it.
pub(crate) async fn committed<T>(
    store: &Mongo,
    body: impl AsyncFnOnce(&mut mongo::Tx) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut tx = store.begin().await?;
    match body(&mut tx).await {
        Ok(value) => {
            store.commit(tx).await.expect("no conflict");
            Ok(value)
        }
        Err(error) => {
            store.rollback(tx).await;
            Err(error)
        }
    }
}

#[track_caller]
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreErrorKind {
    result.expect_err("the call fails").kind
}

pub(crate) fn partition() -> TopicPartition {
    TopicPartition::new("users", 3)
}

pub(crate) fn headers() -> Headers {
    Headers(vec![
        ("ce_id".to_owned(), "1".to_owned()),
        ("Ümlaut.with$dots".to_owned(), String::new()),
        ("ce_id".to_owned(), "again".to_owned()),
    ])
}

pub(crate) fn record() -> Record {
    Record {
        partition: partition(),
        offset: 41,
        timestamp: Timestamp::from_micros(1_700_000_000_123_456).expect("in range"),
        key: Some(bytes::Bytes::from_static(b"key")),
        value: Some(bytes::Bytes::from_static(&[0, 0xff, 0xfe])),
        headers: headers(),
    }
}

pub(crate) fn message() -> OutboxMessage {
    OutboxMessage {
        topic: "users".to_owned(),
        key: Uuid::now_v7(),
        value: Some(bytes::Bytes::from_static(&[0, 0xff, 0xfe])),
        headers: headers(),
        due_at: None,
    }
}
