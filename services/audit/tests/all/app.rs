//! The service without Kafka.

use std::time::Duration;

use audit::entry::Entry;
use audit::finding::{Finding, FindingKind};
use audit::metrics::Metrics;
use audit::{Notary, Signer, store, subscriptions};
use contracts::{
    Actor, AuditQuery, CreateUser, Date, FindAuditEntries, Reply, Timestamp, UserCommand, UserCreated, UserDeactivated,
    UserEvent, VerifyAuditLog,
};
use futures::TryStreamExt;
use messaging::{Outgoing, Subscriptions};
use mongo::Mongo;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use testing::{Bench, MongoDatabase};
use uuid::Uuid;

pub(crate) struct App {
    pub(crate) bench: Bench<Mongo>,
    // Last, so it is dropped after the fields that use it.
    pub(crate) database: MongoDatabase,
}

impl App {
    pub(crate) async fn start() -> Self {
        let database = testing::mongo().await;
        let mongo = database.ledger();
        store::schema()
            .prepare(&mongo)
            .await
            .expect("the collections can be created");
        Self {
            bench: Bench::new("audit", mongo.clone(), mongo, all_subscriptions()),
            database,
        }
    }

    /// Sets the number of partitions.
    pub(crate) fn partitions(mut self, count: i32) -> Self {
        self.bench = self.bench.partitions(count);
        self
    }

    /// Returns all entries, ordered by topic, partition and offset.
    pub(crate) async fn entries(&self) -> Vec<Entry> {
        self.all(store::ENTRIES).await
    }

    pub(crate) async fn findings(&self) -> Vec<FindingKind> {
        let findings: Vec<Finding> = self.all(store::FINDINGS).await;
        findings.iter().map(Finding::kind).collect()
    }

    async fn all<T: DeserializeOwned + Send + Sync + Unpin>(&self, collection: &str) -> Vec<T> {
        let rows = self.database.ledger().collection::<T>(collection);
        let rows = rows
            .find(doc! {})
            .sort(doc! { "_id": 1 })
            .await
            .expect("documents can be read");
        rows.try_collect().await.expect("documents can be read")
    }

    /// Deletes the consumer's positions so that all records are delivered again.
    pub(crate) async fn delete_positions(&self) {
        let consumed = self.database.ledger().collection::<Document>("consumed");
        consumed.delete_many(doc! {}).await.expect("documents can be written");
    }

    pub(crate) async fn find_entries(&self, query: FindAuditEntries) -> Page {
        Page::parse(&self.result(query).await)
    }

    /// Returns the result of a query.
    pub(crate) async fn query(&self, query: impl Into<AuditQuery>) -> Json {
        serde_json::from_str(&self.result(query).await).expect("a result is JSON")
    }

    async fn result(&self, query: impl Into<AuditQuery>) -> String {
        let message = Outgoing::<AuditQuery>::new(Uuid::now_v7(), query);
        match self.bench.request(message).await {
            Reply::CommandAccepted(accepted) => accepted.result.expect("a result"),
            reply => panic!("{reply:?}"),
        }
    }

    /// Returns the code with which a query is rejected, and the invalid fields.
    pub(crate) async fn rejection(&self, query: impl Into<AuditQuery>) -> (String, Vec<String>) {
        let message = Outgoing::<AuditQuery>::new(Uuid::now_v7(), query);
        match self.bench.request(message).await {
            Reply::CommandRejected(rejected) => {
                let fields = rejected.errors.into_iter().map(|error| error.field);
                (rejected.code, fields.collect())
            }
            reply => panic!("{reply:?}"),
        }
    }

    /// Verifies the whole log and returns the findings.
    pub(crate) async fn verify(&self) -> Vec<Json> {
        self.verify_topic(None).await
    }

    pub(crate) async fn verify_topic(&self, topic: Option<&str>) -> Vec<Json> {
        let (mut findings, mut cursor) = (Vec::new(), None);
        loop {
            let topic = topic.map(str::to_owned);
            let mut result = self.query(VerifyAuditLog { topic, cursor }).await;
            findings.append(result["findings"].as_array_mut().expect("a list"));
            cursor = result["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return findings;
            }
        }
    }

    /// Signs a checkpoint now, regardless of the time of the last one.
    pub(crate) async fn sign(&self) -> Option<i64> {
        let signed = self.notary(Duration::ZERO).await.sign(Timestamp::now()).await;
        self.bench.settle().await;
        signed.expect("the checkpoint can be signed")
    }

    pub(crate) async fn notary(&self, every: Duration) -> Notary {
        let ledger = self.database.ledger();
        Notary {
            signer: Signer::load(None, &ledger).await.expect("a key is created"),
            publisher: self.bench.publisher(),
            ledger,
            every,
        }
    }

    /// Returns a collection so that a test can tamper with its documents.
    pub(crate) fn documents(&self, name: &str) -> Collection<Document> {
        self.database.ledger().collection(name)
    }
}

/// A page of entries, as the gateway receives it.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) size: usize,
    pub(crate) entries: Vec<Json>,
    pub(crate) next: Option<String>,
}

impl Page {
    fn parse(result: &str) -> Self {
        let mut page: Json = serde_json::from_str(result).expect("a result is JSON");
        Self {
            size: result.len(),
            next: page["next_cursor"].as_str().map(str::to_owned),
            entries: page["entries"].as_array_mut().map(std::mem::take).expect("a list"),
        }
    }

    pub(crate) fn ids(&self) -> Vec<&str> {
        self.entries
            .iter()
            .map(|entry| entry["id"].as_str().expect("an id"))
            .collect()
    }
}

pub(crate) fn all_subscriptions() -> Subscriptions<Mongo> {
    subscriptions(&Metrics::register(&prometheus::Registry::new()).expect("the registry is empty"))
}

pub(crate) fn query() -> FindAuditEntries {
    FindAuditEntries {
        aggregate_id: None,
        correlation_id: None,
        actor: None,
        message_type: None,
        from: None,
        until: None,
        cursor: None,
        limit: 200,
    }
}

pub(crate) fn signed_up(user: Uuid) -> Outgoing<UserEvent> {
    let created = UserCreated {
        created_at: Timestamp::EPOCH,
    };
    Outgoing::new(user, created).actor(Actor::User(user))
}

pub(crate) fn deactivated(user: Uuid) -> Outgoing<UserEvent> {
    let deactivated = UserDeactivated {
        reason: "on request".to_owned(),
        deactivated_at: Timestamp::EPOCH,
    };
    Outgoing::new(user, deactivated)
}

/// Returns a command with personal data.
pub(crate) fn create_user() -> Outgoing<UserCommand> {
    let command = CreateUser {
        email: "ada@example.org".to_owned(),
        username: "ada_1815".to_owned(),
        full_name: "Ada \"Countess\" Lovelace".to_owned(),
        date_of_birth: Date::parse("1990-12-10").expect("a date"),
        time_zone: "Europe/London".to_owned(),
    };
    Outgoing::new(Uuid::now_v7(), command)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
