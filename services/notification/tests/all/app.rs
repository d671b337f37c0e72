//! The service without Kafka, and with a mail server that records.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contracts::NotificationFact;
use contracts::links::LinkKey;
use futures::TryStreamExt;
use mongo::Mongo;
use mongodb::bson::{Bson, Document, doc};
use notification::letter::{Letter, Letters};
use notification::mailer::{Mailer, Working};
use notification::metrics::Metrics;
use notification::server::{MailServer, NotSent};
use notification::{Lanes, MAILS, store, subscriptions};
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
    pub(crate) server: Recording,
    lanes: Lanes,
    stop: CancellationToken,
    // Last: what is above uses it.
    database: MongoDatabase,
}

impl App {
    /// The handlers alone.
    pub(crate) async fn start() -> Self {
        let database = testing::mongo().await;
        let mongo = database.ledger();
        store::prepare(&mongo).await.expect("collections can be made");
        let lanes = Lanes::default();
        Self {
            bench: Bench::new("notification", mongo.clone(), mongo, subscriptions(&lanes)),
            server: Recording::default(),
            lanes,
            stop: CancellationToken::new(),
            database,
        }
    }

    /// With a mailer that works as in production, but for waits that a test has time for.
    pub(crate) async fn with_mailer() -> Self {
        let app = Self::start().await;
        app.run_mailer(app.server.clone(), quick());
        app
    }

    /// One more mailer, woken by the handlers of this process.
    pub(crate) fn run_mailer<S: MailServer>(&self, server: S, working: Working) -> JoinHandle<()> {
        self.run_mailer_woken_by(&self.lanes, server, working)
    }

    /// A mailer of another process: nobody wakes it.
    pub(crate) fn run_remote_mailer<S: MailServer>(&self, server: S, working: Working) -> JoinHandle<()> {
        self.run_mailer_woken_by(&Lanes::default(), server, working)
    }

    fn run_mailer_woken_by<S: MailServer>(&self, lanes: &Lanes, server: S, working: Working) -> JoinHandle<()> {
        let mailer = Mailer::new(
            self.database.ledger(),
            self.bench.publisher(),
            Letters::new("https://rollcall.example", LinkKey::new(LINK_KEY)),
            server,
            lanes.clone(),
            Metrics::register(&prometheus::Registry::new()).expect("the registry is empty"),
            working,
        );
        tokio::spawn(mailer.run(self.stop.clone()))
    }

    /// A user who signed up, with an address.
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
            .expect("mails can be read")
            .try_collect()
            .await
            .expect("mails can be read")
    }

    pub(crate) async fn change_mails(&self, change: Document) {
        let mails = self.database.ledger().collection::<Document>(MAILS);
        mails
            .update_many(doc! {}, doc! { "$set": change })
            .await
            .expect("mails can be written");
    }

    /// Everything that the service keeps, in all collections, as text: bytes too.
    pub(crate) async fn everything_kept(&self) -> String {
        let database = self.database.ledger().database().clone();
        let mut kept = String::new();
        for name in database.list_collection_names().await.expect("collections are listed") {
            let documents = database.collection::<Document>(&name).find(doc! {}).await;
            let documents: Vec<_> = documents
                .expect("it can be read")
                .try_collect()
                .await
                .expect("it can be read");
            documents
                .into_iter()
                .for_each(|document| write(&document.into(), &mut kept));
        }
        kept
    }

    /// Mails of one kind, whatever became of them.
    pub(crate) async fn mails_of(&self, kind: &str) -> Vec<Document> {
        let mut mails = self.mails().await;
        mails.retain(|mail| mail.get_str("kind").ok() == Some(kind));
        mails
    }

    /// Waits until no mail is pending.
    pub(crate) async fn is_done(&self) {
        eventually("no mail is pending", DEADLINE, || async {
            let mails = self.mails().await;
            mails
                .iter()
                .all(|mail| mail.get_str("state").ok() != Some("pending"))
                .then_some(())
        })
        .await;
    }

    pub(crate) fn stop_mailers(&self) {
        self.stop.cancel();
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

/// As in production, but for waits that a test has time for.
pub(crate) fn quick() -> Working {
    Working {
        first_wait: Duration::from_millis(20),
        first_look: Duration::from_secs(60),
        longest_look: Duration::from_secs(60),
        scan: Duration::from_millis(100),
        ..Working::default()
    }
}

/// A mail server that keeps what it takes. It answers what the test put in line, then yes.
#[derive(Clone, Default)]
pub(crate) struct Recording(Arc<Recorded>);

#[derive(Default)]
struct Recorded {
    /// Everything that was tried, taken or not.
    tried: Mutex<Vec<Letter>>,
    taken: Mutex<Vec<Letter>>,
    answers: Mutex<VecDeque<NotSent>>,
    down: watch::Sender<bool>,
}

impl Recording {
    pub(crate) fn answers(&self, answers: impl IntoIterator<Item = NotSent>) {
        self.0.answers.lock().expect("nobody panics").extend(answers);
    }

    pub(crate) fn is_down(&self, down: bool) {
        self.0.down.send_replace(down);
    }

    pub(crate) fn tried(&self) -> Vec<Letter> {
        self.0.tried.lock().expect("nobody panics").clone()
    }

    pub(crate) fn taken(&self) -> Vec<Letter> {
        self.0.taken.lock().expect("nobody panics").clone()
    }

    pub(crate) fn subjects(&self) -> Vec<String> {
        let mut subjects: Vec<_> = self.taken().into_iter().map(|letter| letter.subject).collect();
        subjects.sort();
        subjects
    }
}

impl MailServer for Recording {
    async fn send(&self, letter: &Letter) -> Result<(), NotSent> {
        self.0.tried.lock().expect("nobody panics").push(letter.clone());
        if *self.0.down.borrow() {
            return Err(NotSent::Unreachable("down".to_owned()));
        }
        if let Some(answer) = self.0.answers.lock().expect("nobody panics").pop_front() {
            return Err(answer);
        }
        self.0.taken.lock().expect("nobody panics").push(letter.clone());
        Ok(())
    }
}
