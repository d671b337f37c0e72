//! A gateway with its own database, and the helpers of the tests.

mod call;
mod messages;

use std::time::Duration;

use axum::Router;
use axum::http::Method;
use chassis::settings::Settings;
use contracts::{
    AnnouncementMade, Codec, Details, EventChanged, EventCommand, EventEvent, EventRescheduled, Message,
    NotificationCommand, RegistrationCommand, RegistrationEvent, SeatConfirmed, SecurityFact, StaffNamed, Timestamp,
    UserCommand, UserCreated, UserEvent, UserProfile, UserProfileState, topics,
};
use gateway::roles::Role;
use gateway::{App, Config, MIGRATIONS, api};
use messaging::{Messaging, Metrics, Outgoing, Received, kafka};
use postgres::Postgres;
use serde_json::{Value, json};
use testing::{Bench, KafkaTopics, PostgresDatabase, eventually};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub(crate) use call::{Call, Response};
pub(crate) use messages::*;

pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const LINK_KEY: &str = "the key of the links in our e-mails";
const SOON: Duration = Duration::from_secs(5);

/// One gateway process without sockets. Tests send requests with [`Call`].
pub(crate) struct Gateway {
    pub(crate) app: App,
    router: Router,
    // Receives from the publisher.
    _connected: Messaging<Postgres>,
    _stop: DropGuard,
}

/// A gateway with its handlers and its database.
pub(crate) struct TestApp {
    pub(crate) bench: Bench<Postgres>,
    pub(crate) gateway: Gateway,
    pub(crate) database: PostgresDatabase,
}

/// A user who has signed up and signed in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: Uuid,
    pub(crate) token: String,
    pub(crate) refresh: String,
}

impl Gateway {
    pub(crate) async fn start(database: &PostgresDatabase, settings: &[(&str, &str)]) -> Self {
        // One connection, for the reason given at `PostgresDatabase::ledger`.
        let ledger = Postgres::connect(&database.url(), 1)
            .await
            .expect("the database is reachable");
        let settings = Settings::from_map(
            [
                ("DATABASE_URL", database.url().as_str()),
                ("KAFKA_BROKERS", "nowhere.invalid:9092"),
                ("SCHEMA_REGISTRY_URL", "http://nowhere.invalid/apis/ccompat/v7"),
                ("FINGERPRINT_KEY", "0123456789abcdef0123456789abcdef"),
                ("LINK_KEY", LINK_KEY),
                ("TICKET_KEY", "0123456789abcdef0123456789abcdef"),
                // Tests send many requests. Those of rate limits set their own.
                ("RATE_LIMIT_ANONYMOUS", "0"),
                ("RATE_LIMIT_WRITES", "0"),
                ("RATE_LIMIT_CHECK_INS", "0"),
                ("RATE_LIMIT_SIGN_INS", "0"),
                ("RATE_LIMIT_ACCOUNT", "0"),
            ]
            .iter()
            .chain(settings)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let config = settings.read(Config::from_settings).expect("valid settings");
        let registry = prometheus::Registry::new();
        let mut kafka = kafka::Settings::new("nowhere.invalid:9092");
        kafka.topic_prefix = "bench.".to_owned();
        let metrics = Metrics::register(&registry).expect("the registry is empty");
        let connected = Messaging::with_codec("gateway", kafka, ledger.clone(), metrics, Codec::local(), None);
        let stop = CancellationToken::new();
        let (app, tasks) = App::new(&config, ledger, connected.publisher().clone(), stop.child_token())
            .await
            .expect("the app starts");
        tokio::spawn(tasks.run(stop.clone()));
        Self {
            router: api::router(app.clone(), &registry).expect("the registry is empty"),
            app,
            _connected: connected,
            _stop: stop.drop_guard(),
        }
    }

    /// Returns the routes for a server.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    pub(crate) fn call(&self, method: Method, path: impl Into<String>) -> Call<'_> {
        Call::new(self, method, path.into())
    }

    pub(crate) fn get(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::POST, path)
    }

    pub(crate) fn put(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::PUT, path)
    }

    pub(crate) fn patch(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::PATCH, path)
    }

    pub(crate) fn delete(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::DELETE, path)
    }
}

pub(crate) fn uuid(value: &Value) -> Uuid {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is not a UUID"));
    text.parse().expect("a UUID")
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let database = testing::postgres(&MIGRATIONS).await;
        let gateway = Gateway::start(&database, settings).await;
        let (ledger, handlers) = (gateway.app.ledger().clone(), gateway.app.subscriptions());
        Self {
            bench: Bench::new("gateway", ledger, database.inside(), handlers),
            gateway,
            database,
        }
    }

    /// Starts a gateway with topics on the real broker, for code that reads them outside the pipeline.
    pub(crate) async fn start_on(kafka: &KafkaTopics) -> Self {
        let database = testing::postgres(&MIGRATIONS).await;
        let brokers = testing::env().kafka_brokers;
        let settings = [
            ("KAFKA_BROKERS", brokers.as_str()),
            ("KAFKA_TOPIC_PREFIX", kafka.prefix()),
        ];
        let gateway = Gateway::start(&database, &settings).await;
        let (ledger, handlers) = (gateway.app.ledger().clone(), gateway.app.subscriptions());
        Self {
            bench: Bench::with_settings("gateway", kafka.settings(), ledger, database.inside(), handlers),
            gateway,
            database,
        }
    }

    /// Returns the commands that were published since the last call. Waits for at least one.
    pub(crate) async fn commands<M: Message>(&self) -> Vec<Received<M>> {
        eventually("a command is published", SOON, || async {
            let commands = self.bench.published_with_envelopes::<M>().await;
            (!commands.is_empty()).then_some(commands)
        })
        .await
    }

    /// Returns the only command that was published since the last call.
    pub(crate) async fn command<M: Message>(&self) -> Received<M> {
        let mut commands = self.commands().await;
        assert_eq!(commands.len(), 1, "{commands:?}");
        commands.remove(0)
    }

    /// Asserts that no message of this type was published since the last call.
    pub(crate) async fn assert_not_published<M: Message>(&self) {
        let published = self.bench.published_with_envelopes::<M>().await;
        assert!(published.is_empty(), "{published:?}");
    }

    /// Sends a sign-up that does not wait for its outcome, and returns the response, which names the operation.
    pub(crate) async fn sign_up_without_waiting(&self, name: &str) -> Response {
        let request = self.gateway.post("/v1/users").wait(0).json(sign_up(name));
        request.send().await.expect(202)
    }

    /// Delivers the messages of the user service about a new account.
    pub(crate) async fn user_is_created(&self, id: Uuid, profile: UserProfile) {
        let created_at = Timestamp::parse("2026-03-01T12:00:00Z").expect("a time");
        self.bench
            .deliver(Outgoing::<UserEvent>::new(id, UserCreated { created_at }))
            .await;
        self.bench.deliver(Outgoing::<UserProfileState>::new(id, profile)).await;
    }

    /// Accepts the next sign-up as the user service.
    pub(crate) async fn users_accept(&self) {
        let command = self.command::<UserCommand>().await;
        let UserCommand::CreateUser(create) = &command.body else {
            panic!("{command:?}");
        };
        let (operation, user) = (command.envelope.id, command.envelope.key);
        let profile = UserProfile {
            email: create.email.clone(),
            username: create.username.clone(),
            full_name: create.full_name.clone(),
            date_of_birth: create.date_of_birth,
            time_zone: create.time_zone.clone(),
            email_verified: false,
            reminders: true,
            announcements: true,
        };
        let effects = vec![
            effect(&topics::USERS, user, 1),
            effect(&topics::USERS_PROFILES, user, 1),
        ];
        self.bench.deliver(accepted(operation, 1, effects)).await;
        self.user_is_created(user, profile).await;
    }

    /// Accepts the next command as the event service, and delivers its domain event.
    pub(crate) async fn events_accept(&self, version: i64) {
        let command = self.command::<EventCommand>().await;
        let (operation, event) = (command.envelope.id, command.envelope.key);
        let organizer = command
            .envelope
            .actor
            .as_ref()
            .and_then(contracts::Actor::user)
            .expect("a person");
        let fact: EventEvent = match &command.body {
            EventCommand::CreateEvent(_) => event_created(organizer).into(),
            EventCommand::PublishEvent(_) => event_published(organizer).into(),
            EventCommand::CancelEvent(cancel) => contracts::EventCancelled {
                reason: cancel.reason.clone(),
                cancelled_at: command.envelope.time,
            }
            .into(),
            EventCommand::ChangeEvent(change) => EventChanged {
                details: changed(organizer, change),
                published: version > 2,
            }
            .into(),
            EventCommand::RescheduleEvent(reschedule) => {
                let before = event_created(organizer).details;
                EventRescheduled {
                    previous_starts_at: before.starts_at,
                    previous_ends_at: before.ends_at,
                    details: Details {
                        starts_at: reschedule.starts_at,
                        ends_at: reschedule.ends_at,
                        ..before
                    },
                }
                .into()
            }
            EventCommand::NameStaff(name) => StaffNamed {
                details: Details {
                    staff: name.staff.clone(),
                    ..event_created(organizer).details
                },
                published: version > 2,
            }
            .into(),
            EventCommand::Announce(announce) => AnnouncementMade {
                announcement_id: announce.announcement_id,
                organizer_id: organizer,
                subject: announce.subject.clone(),
                body: announce.body.clone(),
            }
            .into(),
            EventCommand::EndEvent(_) => panic!("the gateway does not end events"),
        };
        self.bench
            .deliver(Outgoing::<EventEvent>::new(event, fact).sequence(version))
            .await;
        let effects = vec![effect(&topics::EVENTS, event, version)];
        self.bench.deliver(accepted(operation, version, effects)).await;
    }

    /// Rejects the next command as the service that it is for, and returns it.
    pub(crate) async fn reject_next<M: Message>(&self, code: &str) -> Received<M> {
        let command = self.command::<M>().await;
        self.bench.deliver(rejected(command.envelope.id, code, &[])).await;
        command
    }

    /// Confirms the next registration as the registration service.
    pub(crate) async fn registrations_confirm(&self, version: i64) {
        let command = self.command::<RegistrationCommand>().await;
        let RegistrationCommand::Register(register) = &command.body else {
            panic!("{command:?}");
        };
        let (operation, event) = (command.envelope.id, command.envelope.key);
        let seat = SeatConfirmed {
            registration_id: register.registration_id,
            user_id: register.user_id,
        };
        self.bench
            .deliver(Outgoing::<RegistrationEvent>::new(event, seat).sequence(version))
            .await;
        let effects = vec![effect(&topics::REGISTRATIONS, event, version)];
        self.bench.deliver(accepted(operation, version, effects)).await;
    }

    /// Signs a user up and in.
    pub(crate) async fn person(&self, name: &str) -> Person {
        let (response, ()) = tokio::join!(
            self.gateway.post("/v1/users").wait(10).json(sign_up(name)).send(),
            self.users_accept()
        );
        let id = response.expect(201).id();
        // Discards the e-mail with the verification link.
        self.bench.published_with_envelopes::<NotificationCommand>().await;
        let session = self.sign_in(name).await.expect(201).body;
        let text = |member: &str| session[member].as_str().expect("a token").to_owned();
        Person {
            token: text("access_token"),
            refresh: text("refresh_token"),
            id,
        }
    }

    pub(crate) async fn admin(&self, name: &str) -> Person {
        let person = self.person(name).await;
        self.grant(&person, Role::Admin).await;
        person
    }

    /// Returns the security facts that were published since the last call. Waits for at least one.
    pub(crate) async fn security_facts(&self) -> Vec<SecurityFact> {
        let facts = self.commands::<SecurityFact>().await;
        facts.into_iter().map(|fact| fact.body).collect()
    }

    /// Returns the token of the only link that was sent since the last call.
    pub(crate) async fn mailed_token(&self, email: &str) -> String {
        let command = self.command::<NotificationCommand>().await;
        token(&command.body, email)
    }

    pub(crate) async fn sign_in(&self, name: &str) -> Response {
        let credentials = json!({ "email": format!("{name}@example.org"), "password": PASSWORD });
        self.gateway.post("/v1/sessions").json(credentials).send().await
    }

    pub(crate) async fn grant(&self, person: &Person, role: Role) {
        sqlx::query("INSERT INTO roles (user_id, role) VALUES ($1, $2)")
            .bind(person.id)
            .bind(role.as_str())
            .execute(self.database.pool())
            .await
            .expect("the role is new");
        self.gateway.app.principals().invalidate(person.id);
    }

    pub(crate) async fn organizer(&self, name: &str) -> Person {
        let person = self.person(name).await;
        self.grant(&person, Role::Organizer).await;
        person
    }

    /// Creates a draft of an event.
    pub(crate) async fn has_draft(&self, organizer: &Person) -> Uuid {
        let (response, ()) = tokio::join!(
            self.gateway
                .post("/v1/events")
                .by(organizer)
                .wait(10)
                .json(draft())
                .send(),
            self.events_accept(1)
        );
        response.expect(201).id()
    }

    /// Creates a published event with an open roster.
    pub(crate) async fn has_event(&self, organizer: &Person) -> Uuid {
        let event = self.has_draft(organizer).await;
        let (response, ()) = tokio::join!(
            self.gateway
                .post(format!("/v1/events/{event}/publish"))
                .by(organizer)
                .wait(10)
                .send(),
            self.events_accept(2)
        );
        response.expect(200);
        self.bench
            .deliver(Outgoing::<RegistrationEvent>::new(event, roster_opened(organizer.id)))
            .await;
        event
    }

    /// Creates a confirmed registration. `version` is that of the roster.
    pub(crate) async fn has_seat(&self, person: &Person, event: Uuid, version: i64) -> Uuid {
        let (response, ()) = tokio::join!(
            self.gateway
                .post(format!("/v1/events/{event}/registrations"))
                .by(person)
                .wait(10)
                .send(),
            self.registrations_confirm(version)
        );
        response.expect(201).id()
    }

    /// Returns the tables that contain this text in any row, also as bytes.
    pub(crate) async fn tables_containing(&self, canary: &str) -> Vec<String> {
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT quote_ident(table_name) FROM information_schema.tables
             WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'",
        )
        .fetch_all(self.database.pool())
        .await
        .expect("the tables are readable");
        assert!(tables.len() > 10, "{tables:?}");
        let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut found = Vec::new();
        for table in tables {
            let query = format!("SELECT count(*) FROM {table} t WHERE t::text ILIKE $1 OR t::text LIKE $2");
            let rows: i64 = sqlx::query_scalar(&query)
                .bind(format!("%{canary}%"))
                .bind(format!("%{hex}%"))
                .fetch_one(self.database.pool())
                .await
                .expect("a number");
            if rows > 0 {
                found.push(table);
            }
        }
        found
    }

    /// Returns a number from the database.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        sqlx::query_scalar(query)
            .fetch_one(self.database.pool())
            .await
            .expect("a number")
    }
}
