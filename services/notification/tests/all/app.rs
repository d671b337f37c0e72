//! The service without Kafka, with a mail server that records e-mails.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contracts::NotificationFact;
use contracts::links::LinkKey;
use futures::TryStreamExt;
use mongo::Mongo;
use mongodb::bson::{self, Bson, Document, doc};
use notification::mailer::{Mailer, MailerSettings};
use notification::metrics::Metrics;
use notification::server::{MailServer, SendError};
use notification::templates::{RenderedMail, Templates};
use notification::{Cleaner, MAILS, MailQueues, store, subscriptions};
use testing::{Bench, MongoDatabase, eventually};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::messages::{created, profile};

pub(crate) const LINK_KEY: &str = "a key of thirty-two characters..";
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct App {
    pub(crate) bench: Bench<Mongo>,
    pub(crate) server: RecordingServer,
    mail_queues: MailQueues,
    stop: CancellationToken,
    // Last, so it is dropped after the fields that use it.
    database: MongoDatabase,
}

impl App {
    /// Starts the handlers, without a mailer.
    pub(crate) async fn start() -> Self {
        let database = testing::mongo().await;
        let mongo = database.ledger();
        store::schema()
            .prepare(&mongo)
            .await
            .expect("the collections can be created");
        let mail_queues = MailQueues::default();
        Self {
            bench: Bench::new("notification", mongo.clone(), mongo, subscriptions(&mail_queues)),
            server: RecordingServer::default(),
            mail_queues,
            stop: CancellationToken::new(),
            database,
        }
    }

    /// Starts the handlers and a mailer with short delays.
    pub(crate) async fn with_mailer() -> Self {
        let app = Self::start().await;
        app.run_mailer(app.server.clone(), quick());
        app
    }

    /// Runs a further mailer, which the handlers of this process notify.
    pub(crate) fn run_mailer<S: MailServer>(&self, server: S, settings: MailerSettings) -> JoinHandle<()> {
        self.run_mailer_notified_by(&self.mail_queues, server, settings)
    }

    /// Runs a mailer as in another process, which no handler notifies.
    pub(crate) fn run_remote_mailer<S: MailServer>(&self, server: S, settings: MailerSettings) -> JoinHandle<()> {
        self.run_mailer_notified_by(&MailQueues::default(), server, settings)
    }

    fn run_mailer_notified_by<S: MailServer>(
        &self,
        mail_queues: &MailQueues,
        server: S,
        settings: MailerSettings,
    ) -> JoinHandle<()> {
        let mailer = Mailer::new(
            self.database.ledger(),
            self.bench.publisher(),
            Templates::new("https://rollcall.example", LinkKey::new(LINK_KEY)),
            server,
            mail_queues.clone(),
            Metrics::register(&prometheus::Registry::new()).expect("the registry is empty"),
            settings,
        );
        tokio::spawn(mailer.run(self.stop.clone()))
    }

    /// Creates a user with a profile.
    pub(crate) async fn has_user(&self, name: &str) -> Uuid {
        let user = Uuid::now_v7();
        self.bench.deliver(profile(user, name)).await;
        user
    }

    pub(crate) async fn has_event(&self, title: &str) -> Uuid {
        let event = Uuid::now_v7();
        self.bench.deliver(created(event, title)).await;
        event
    }

    pub(crate) async fn mails(&self) -> Vec<Document> {
        let mails = self.database.ledger().collection::<Document>(MAILS);
        mails
            .find(doc! {})
            .await
            .expect("e-mails can be read")
            .try_collect()
            .await
            .expect("e-mails can be read")
    }

    pub(crate) async fn change_mails(&self, change: Document) {
        let mails = self.database.ledger().collection::<Document>(MAILS);
        mails
            .update_many(doc! {}, doc! { "$set": change })
            .await
            .expect("e-mails can be written");
    }

    /// Returns the content of all collections as text, including binary values.
    pub(crate) async fn stored_text(&self) -> String {
        let database = self.database.ledger().database().clone();
        let mut text = String::new();
        for name in database.list_collection_names().await.expect("collections are listed") {
            let documents = database.collection::<Document>(&name).find(doc! {}).await;
            let documents: Vec<_> = documents
                .expect("documents can be read")
                .try_collect()
                .await
                .expect("documents can be read");
            documents
                .into_iter()
                .for_each(|document| write(&document.into(), &mut text));
        }
        text
    }

    /// Returns the e-mails of one kind in any state.
    pub(crate) async fn mails_of(&self, kind: &str) -> Vec<Document> {
        let mut mails = self.mails().await;
        mails.retain(|mail| mail.get_str("kind").ok() == Some(kind));
        mails
    }

    /// Waits until no e-mail is pending.
    pub(crate) async fn all_mails_are_processed(&self) {
        eventually("no e-mail is pending", DEADLINE, || async {
            let mails = self.mails().await;
            mails
                .iter()
                .all(|mail| mail.get_str("state").ok() != Some("pending"))
                .then_some(())
        })
        .await;
    }

    /// Waits until exactly `count` mails are pending.
    pub(crate) async fn mails_are_pending(&self, count: usize) {
        eventually("some mails are pending", DEADLINE, || async {
            let mails = self.mails().await;
            let pending = mails
                .iter()
                .filter(|mail| mail.get_str("state").ok() == Some("pending"));
            (pending.count() == count).then_some(())
        })
        .await;
    }

    /// Stores mails that were just sent.
    pub(crate) async fn has_finished_mails(&self, count: u64) {
        let mail = || doc! { "_id": bson::Uuid::new(), "state": "sent", "finished_at": bson::DateTime::now() };
        let mails = self.database.ledger().collection::<Document>(MAILS);
        let inserted = mails.insert_many((0..count).map(|_| mail())).await;
        inserted.expect("mails can be written");
    }

    pub(crate) fn cleaner(&self, retention: Duration) -> Cleaner {
        Cleaner {
            mongo: self.database.ledger(),
            retention,
        }
    }

    pub(crate) fn stop_mailers(&self) {
        self.stop.cancel();
    }

    /// Asserts that exactly `count` facts were published, all of which report failed e-mails with this reason.
    pub(crate) async fn assert_failed(&self, count: usize, reason: &str) {
        let facts = self.facts().await;
        assert_eq!(facts.len(), count, "{facts:?}");
        for fact in facts {
            let NotificationFact::NotificationFailed(failed) = fact else {
                panic!("{fact:?}");
            };
            assert_eq!(failed.reason, reason);
        }
    }

    pub(crate) async fn facts(&self) -> Vec<NotificationFact> {
        self.bench.published().await
    }
}

fn write(value: &Bson, text: &mut String) {
    match value {
        Bson::Document(document) => document.iter().for_each(|(name, value)| {
            text.push_str(name);
            text.push(' ');
            write(value, text);
        }),
        Bson::Array(values) => values.iter().for_each(|value| write(value, text)),
        Bson::Binary(binary) => text.push_str(&String::from_utf8_lossy(&binary.bytes)),
        Bson::String(string) => text.push_str(string),
        other => text.push_str(&other.to_string()),
    }
    text.push('\n');
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Returns the production settings with short delays.
pub(crate) fn quick() -> MailerSettings {
    MailerSettings {
        initial_retry_delay: Duration::from_millis(20),
        initial_recheck_delay: Duration::from_secs(60),
        max_recheck_delay: Duration::from_secs(60),
        scan_interval: Duration::from_millis(100),
        ..MailerSettings::default()
    }
}

/// A mail server that records e-mails. It returns the errors that a test has queued, and then accepts all e-mails.
#[derive(Clone, Default)]
pub(crate) struct RecordingServer(Arc<Recorded>);

#[derive(Default)]
struct Recorded {
    /// All e-mails that the mailer tried to send, accepted or not.
    attempts: Mutex<Vec<RenderedMail>>,
    sent: Mutex<Vec<RenderedMail>>,
    errors: Mutex<VecDeque<SendError>>,
    down: watch::Sender<bool>,
}

impl RecordingServer {
    pub(crate) fn fail_with(&self, errors: impl IntoIterator<Item = SendError>) {
        self.0
            .errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(errors);
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.0.down.send_replace(down);
    }

    pub(crate) fn attempts(&self) -> Vec<RenderedMail> {
        self.0.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn sent(&self) -> Vec<RenderedMail> {
        self.0.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn subjects(&self) -> Vec<String> {
        let mut subjects: Vec<_> = self.sent().into_iter().map(|mail| mail.subject).collect();
        subjects.sort();
        subjects
    }
}

impl MailServer for RecordingServer {
    async fn send(&self, mail: &RenderedMail) -> Result<(), SendError> {
        self.0
            .attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(mail.clone());
        if *self.0.down.borrow() {
            return Err(SendError::Unreachable("down".to_owned()));
        }
        if let Some(error) = self.0.errors.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            return Err(error);
        }
        self.0
            .sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(mail.clone());
        Ok(())
    }
}
