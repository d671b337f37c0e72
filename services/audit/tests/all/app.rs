//! The service without Kafka.

use audit::entry::Entry;
use audit::finding::{Finding, FindingKind};
use audit::metrics::Metrics;
use audit::{store, subscriptions};
use contracts::{Actor, AuditQuery, FindAuditEntries, Reply, Timestamp, UserCreated, UserEvent};
use futures::TryStreamExt;
use messaging::{Outgoing, Subscriptions};
use mongo::Mongo;
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
        let asked = Outgoing::<AuditQuery>::new(Uuid::now_v7(), question);
        match self.bench.request(asked).await {
            Reply::CommandAccepted(accepted) => Page::parse(&accepted.result.expect("it has a result")),
            reply => panic!("{reply:?}"),
        }
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
