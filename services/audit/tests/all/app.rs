//! The service without Kafka.

use std::time::Duration;

use audit::entry::Entry;
use audit::finding::{Finding, FindingKind};
use audit::metrics::Metrics;
use audit::{Notary, Signer, store, subscriptions};
use contracts::{
    Actor, AuditQuery, FindAuditEntries, Reply, Timestamp, UserCreated, UserDeactivated, UserEvent, VerifyAuditLog,
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
    // Last: what is above uses it.
    pub(crate) database: MongoDatabase,
}

impl App {
    pub(crate) async fn start() -> Self {
        let database = testing::mongo().await;
        let mongo = database.ledger();
        store::prepare(&mongo).await.expect("collections can be made");
        Self {
            bench: Bench::new("audit", mongo.clone(), mongo, listening()),
            database,
        }
    }

    /// The log, in the order of topics, partitions and offsets.
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
            .expect("it can be read");
        rows.try_collect().await.expect("it can be read")
    }

    /// Nobody knows any more how far the log was read.
    pub(crate) async fn forget_positions(&self) {
        let consumed = self.database.ledger().collection::<Document>("consumed");
        consumed.delete_many(doc! {}).await.expect("it can be written");
    }

    pub(crate) async fn ask(&self, question: FindAuditEntries) -> Page {
        Page::parse(&self.result(question).await)
    }

    /// The answer to any question.
    pub(crate) async fn answer(&self, question: impl Into<AuditQuery>) -> Json {
        serde_json::from_str(&self.result(question).await).expect("a result is JSON")
    }

    async fn result(&self, question: impl Into<AuditQuery>) -> String {
        let asked = Outgoing::<AuditQuery>::new(Uuid::now_v7(), question);
        match self.bench.request(asked).await {
            Reply::CommandAccepted(accepted) => accepted.result.expect("it has a result"),
            reply => panic!("{reply:?}"),
        }
    }

    /// The code with which a question is rejected, and the fields that are at fault.
    pub(crate) async fn rejected(&self, question: impl Into<AuditQuery>) -> (String, Vec<String>) {
        let asked = Outgoing::<AuditQuery>::new(Uuid::now_v7(), question);
        match self.bench.request(asked).await {
            Reply::CommandRejected(rejected) => {
                let fields = rejected.errors.into_iter().map(|error| error.field);
                (rejected.code, fields.collect())
            }
            reply => panic!("{reply:?}"),
        }
    }

    /// Asks until everything is verified; answers the findings.
    pub(crate) async fn verify(&self) -> Vec<Json> {
        self.verify_topic(None).await
    }

    pub(crate) async fn verify_topic(&self, topic: Option<&str>) -> Vec<Json> {
        let (mut findings, mut cursor) = (Vec::new(), None);
        loop {
            let topic = topic.map(str::to_owned);
            let mut answer = self.answer(VerifyAuditLog { topic, cursor }).await;
            findings.append(answer["findings"].as_array_mut().expect("a list"));
            cursor = answer["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return findings;
            }
        }
    }

    /// Signs a checkpoint now, whenever the last one was.
    pub(crate) async fn sign(&self) -> Option<i64> {
        let signed = self.notary(Duration::ZERO).await.sign(Timestamp::now()).await;
        self.bench.settle().await;
        signed.expect("it can be signed")
    }

    pub(crate) async fn notary(&self, every: Duration) -> Notary {
        let ledger = self.database.ledger();
        Notary {
            signer: Signer::load(None, &ledger).await.expect("a key is made"),
            publisher: self.bench.publisher(),
            ledger,
            every,
        }
    }

    /// The documents of a collection, to tamper with.
    pub(crate) fn documents(&self, name: &str) -> Collection<Document> {
        self.database.ledger().collection(name)
    }
}

/// A page as the gateway gets it.
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

pub(crate) fn listening() -> Subscriptions<Mongo> {
    subscriptions(&Metrics::register(&prometheus::Registry::new()).expect("the registry is empty"))
}

pub(crate) fn question() -> FindAuditEntries {
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

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
