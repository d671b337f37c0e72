//! The service without Kafka, and with a mail server that records.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contracts::links::LinkKey;
use contracts::{
    Date, EventCreated, EventEvent, NotificationFact, RegistrationEvent, SeatConfirmed, Timestamp, UserCreated,
    UserEvent, UserProfile, UserProfileState,
};
use futures::TryStreamExt;
use messaging::Outgoing;
use mongo::Mongo;
use mongodb::bson::{Document, doc};
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

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

pub(crate) fn signed_up(user: Uuid) -> Outgoing<UserEvent> {
    Outgoing::new(user, UserCreated { created_at: now() })
}

pub(crate) fn profile(user: Uuid, name: &str) -> Outgoing<UserProfileState> {
    let profile = UserProfile {
        email: format!("{}@example.org", name.to_lowercase()),
        username: name.to_lowercase(),
        full_name: name.to_owned(),
        date_of_birth: Date::parse("1990-12-10").expect("a date"),
        time_zone: "Europe/Berlin".to_owned(),
        email_verified: false,
        reminders: true,
        announcements: true,
    };
    Outgoing::new(user, profile)
}

pub(crate) fn created(event: Uuid, title: &str) -> Outgoing<EventEvent> {
    let at = |text: &str| Timestamp::parse(text).expect("a time");
    let created = EventCreated {
        organizer_id: Uuid::from_u128(1),
        title: title.to_owned(),
        description: "Bring a loom.".to_owned(),
        venue: "Royal Institution".to_owned(),
        starts_at: at("2026-07-03T16:00:00Z"),
        ends_at: at("2026-07-03T18:00:00Z"),
        time_zone: "Europe/London".to_owned(),
        capacity: 100,
        registration_closes_at: at("2026-07-03T12:00:00Z"),
        waiting_list: true,
        registration_opens_at: None,
    };
    Outgoing::new(event, created)
}

pub(crate) fn confirmed(event: Uuid, user: Uuid) -> Outgoing<RegistrationEvent> {
    let confirmed = SeatConfirmed {
        registration_id: Uuid::now_v7(),
        user_id: user,
    };
    Outgoing::new(event, confirmed)
}
