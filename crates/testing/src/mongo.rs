//! A separate MongoDB database for each test.

use std::time::Duration;

use bytes::Bytes;
use contracts::Timestamp;
use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use messaging::ledger::{DeadLetter, OutboxMessage, Parked};
use messaging::{Headers, Record, TopicPartition};
use mongo::Mongo;
use mongodb::Client;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReadConcern;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::inside::Inside;
use crate::{env, janitor};

const PREFIX: &str = "rollcall_test_";
/// Age after which a later test process drops the databases of a test process that was killed.
const STALE: Duration = Duration::from_secs(60 * 60);

/// A database with the collections of the ledger. It is dropped with this value.
pub struct MongoDatabase {
    name: String,
    ledger: Mongo,
}

/// Creates a database. A service creates its own collections in it.
pub async fn mongo() -> MongoDatabase {
    let name = format!("{PREFIX}{}", Uuid::now_v7().simple());
    let ledger = Mongo::connect(&url(&name))
        .await
        .unwrap_or_else(|error| panic!("the server of MONGODB_URL is unreachable: {:?}", error.source));
    let database = MongoDatabase { name, ledger };
    database.ledger.prepare().await.expect("the collections can be created");
    database
}

impl MongoDatabase {
    /// Returns the ledger. All clones share one connection.
    pub fn ledger(&self) -> Mongo {
        self.ledger.clone()
    }

    /// Returns the URL, for code that opens its own connection.
    pub fn url(&self) -> String {
        url(&self.name)
    }
}

impl Drop for MongoDatabase {
    fn drop(&mut self) {
        let name = self.name.clone();
        janitor::run_blocking(async move { drop_database(admin().await, &name).await });
    }
}

fn url(database: &str) -> String {
    let url = env().mongodb_url;
    let (server, options) = url.split_once('?').unwrap_or((url.as_str(), ""));
    let server = server.trim_end_matches('/');
    assert!(
        server.matches('/').count() == 2,
        "MONGODB_URL must not contain a database, because each test has its own"
    );
    // One connection, for the same reason as in `PostgresDatabase::ledger`.
    let options: Vec<&str> = options.split('&').filter(|option| !option.is_empty()).collect();
    format!(
        "{server}/{database}?{}",
        [&options[..], &["maxPoolSize=1"]].concat().join("&")
    )
}

/// Returns the connections of the janitor. The first call also drops stale databases.
async fn admin() -> &'static Client {
    static ADMIN: OnceCell<Client> = OnceCell::const_new();
    ADMIN
        .get_or_init(|| async {
            let client = Client::with_uri_str(env().mongodb_url)
                .await
                .unwrap_or_else(|error| panic!("MONGODB_URL is invalid: {error}"));
            let names = client
                .list_database_names()
                .await
                .expect("the server of MONGODB_URL is reachable");
            for name in names {
                if name.strip_prefix(PREFIX).is_some_and(|id| crate::is_stale(id, STALE)) {
                    drop_database(&client, &name).await;
                }
            }
            client
        })
        .await
}

async fn drop_database(client: &Client, name: &str) {
    if let Err(error) = client.database(name).drop().await {
        eprintln!("the test database {name} was not dropped: {error}");
    }
}

impl Inside for Mongo {
    fn parked_records(&self) -> BoxFuture<'_, Vec<Parked>> {
        Box::pin(async {
            let documents = find(self, "parked", doc! {}, doc! { "_id": 1 }).await;
            documents
                .iter()
                .map(|document| {
                    let id = document.get_document("_id").expect("the _id is a document");
                    Parked {
                        key: uuid(id, "key"),
                        sequence: id.get_i64("sequence").expect("the record has a sequence"),
                        id: uuid(document, "message_id"),
                        record: record(document),
                        error: text(document, "error"),
                    }
                })
                .collect()
        })
    }

    fn dead_letters(&self) -> BoxFuture<'_, Vec<DeadLetter>> {
        Box::pin(async {
            let documents = find(self, "dead_letters", doc! {}, doc! { "_id": 1 }).await;
            documents
                .iter()
                .map(|document| DeadLetter {
                    id: uuid(document, "_id"),
                    reason: mongodb::bson::deserialize_from_bson(document["reason"].clone())
                        .expect("the field is a reason"),
                    detail: text(document, "detail"),
                    record: record(document),
                })
                .collect()
        })
    }

    fn delayed(&self) -> BoxFuture<'_, Vec<OutboxMessage>> {
        Box::pin(async {
            let documents = find(self, "outbox", delayed(), in_order()).await;
            documents.iter().map(outbox_message).collect()
        })
    }

    fn take_delayed(&self) -> BoxFuture<'_, Vec<OutboxMessage>> {
        Box::pin(async {
            let taken = self.delayed().await;
            let outbox = self.collection::<Document>("outbox");
            outbox.delete_many(delayed()).await.expect("the outbox can be written");
            taken
        })
    }

    fn outbox(&self) -> BoxFuture<'_, Vec<(Uuid, OutboxMessage)>> {
        Box::pin(async {
            let owned = doc! { "owner": { "$ne": null } };
            let documents = find(self, "outbox", owned, in_order()).await;
            documents
                .iter()
                .map(|document| (uuid(document, "owner"), outbox_message(document)))
                .collect()
        })
    }

    fn inbox_entries(&self) -> BoxFuture<'_, i64> {
        Box::pin(async { find(self, "inbox", doc! {}, doc! {}).await.len() as i64 })
    }

    fn acknowledged_offsets(&self) -> BoxFuture<'_, Vec<(TopicPartition, i64)>> {
        Box::pin(async {
            // Acknowledgements do not wait for the majority.
            let offsets = self.collection::<Document>("relay_offsets");
            let found = offsets
                .find(doc! {})
                .sort(doc! { "_id": 1 })
                .read_concern(ReadConcern::local());
            let documents: Vec<Document> = found
                .await
                .expect("the ledger's collections can be read")
                .try_collect()
                .await
                .expect("the ledger's collections can be read");
            documents
                .iter()
                .map(|document| {
                    let id = document.get_document("_id").expect("the _id is a document");
                    let partition = id.get_i32("partition").expect("the _id has a partition");
                    let offset = document.get_i64("offset").expect("the document has an offset");
                    (TopicPartition::new(text(id, "topic"), partition), offset)
                })
                .collect()
        })
    }
}

fn delayed() -> Document {
    doc! { "owner": null }
}

fn in_order() -> Document {
    doc! { "ready_at": 1, "_id": 1 }
}

async fn find(ledger: &Mongo, collection: &str, filter: Document, order: Document) -> Vec<Document> {
    ledger
        .collection::<Document>(collection)
        .find(filter)
        .sort(order)
        .await
        .expect("the ledger's collections can be read")
        .try_collect()
        .await
        .expect("the ledger's collections can be read")
}

fn record(document: &Document) -> Record {
    let record = document.get_document("record").expect("the document has a record");
    let partition = record.get_i32("partition").expect("the record has a partition");
    Record {
        partition: TopicPartition::new(text(record, "topic"), partition),
        offset: record.get_i64("offset").expect("the document has an offset"),
        timestamp: time(record, "timestamp").expect("the record has a time"),
        key: bytes(record, "key"),
        value: bytes(record, "value"),
        headers: headers(record),
    }
}

fn outbox_message(document: &Document) -> OutboxMessage {
    OutboxMessage {
        topic: text(document, "topic"),
        key: uuid(document, "key"),
        value: bytes(document, "value"),
        headers: headers(document),
        due_at: time(document, "due_at"),
    }
}

fn text(document: &Document, field: &str) -> String {
    document.get_str(field).expect("the field is a string").to_owned()
}

fn uuid(document: &Document, field: &str) -> Uuid {
    match document.get(field) {
        Some(Bson::Binary(binary)) if binary.subtype == BinarySubtype::Uuid => {
            Uuid::from_slice(&binary.bytes).expect("a UUID has 16 bytes")
        }
        other => panic!("{field} is not a UUID: {other:?}"),
    }
}

fn bytes(document: &Document, field: &str) -> Option<Bytes> {
    let bytes = document.get_binary_generic(field).ok()?;
    Some(Bytes::copy_from_slice(bytes))
}

fn time(document: &Document, field: &str) -> Option<Timestamp> {
    let micros = document.get_i64(field).ok()?;
    Some(Timestamp::from_micros(micros).expect("the field was written from a timestamp"))
}

fn headers(document: &Document) -> Headers {
    mongodb::bson::deserialize_from_bson(document["headers"].clone()).expect("the field was written from headers")
}
