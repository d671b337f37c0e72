//! The service with its real store and pipeline.

use std::time::Duration;

use contracts::{Actor, CancelEvent, CreateEvent, EndEvent, EventCommand, EventEvent, PublishEvent, Reply, Timestamp};
use event::domain::SELF;
use event::{MIGRATIONS, subscriptions};
use messaging::Outgoing;
use postgres::Postgres;
use testing::{Bench, PostgresDatabase};
use uuid::Uuid;

const EVENT: Uuid = Uuid::from_u128(1);
const ADA: Uuid = Uuid::from_u128(2);

const HOUR: Duration = Duration::from_secs(3600);

struct App {
    bench: Bench<Postgres>,
    _database: PostgresDatabase,
}

impl App {
    async fn start() -> Self {
        let database = testing::postgres(&MIGRATIONS).await;
        let ledger = database.ledger();
        Self {
            bench: Bench::new("event", ledger.clone(), ledger, subscriptions()),
            _database: database,
        }
    }

    async fn ask(&self, body: impl Into<EventCommand>) -> Result<i64, String> {
        self.request(by_ada(body)).await
    }

    async fn request(&self, command: Outgoing<EventCommand>) -> Result<i64, String> {
        match self.bench.request(command).await {
            Reply::CommandAccepted(accepted) => Ok(accepted.version),
            Reply::CommandRejected(rejected) => Err(rejected.code),
            Reply::CommandFailed(failed) => panic!("{failed:?}"),
        }
    }

    /// Short names of what was published since this was asked last.
    async fn published(&self) -> Vec<&'static str> {
        let published = self.bench.published::<EventEvent>().await;
        let names = published.iter().map(|event| match event {
            EventEvent::EventCreated(_) => "created",
            EventEvent::EventPublished(_) => "published",
            EventEvent::EventCancelled(_) => "cancelled",
            EventEvent::EventEnded(_) => "ended",
        });
        names.collect()
    }
}

fn by_ada(body: impl Into<EventCommand>) -> Outgoing<EventCommand> {
    Outgoing::new(EVENT, body).actor(Actor::User(ADA))
}

fn draft() -> CreateEvent {
    let starts_at = Timestamp::now() + 24 * HOUR;
    CreateEvent {
        title: "On computable numbers".into(),
        description: "With an application.".into(),
        venue: "Room 12".into(),
        starts_at,
        ends_at: starts_at + 3 * HOUR,
        time_zone: "Europe/London".into(),
        capacity: 40,
        registration_closes_at: starts_at,
        waiting_list: true,
    }
}

#[tokio::test]
async fn an_event_is_drafted_published_and_over() {
    let app = App::start().await;
    let draft = draft();
    let ends_at = draft.ends_at;
    assert_eq!(app.ask(draft).await, Ok(1));
    assert_eq!(app.ask(PublishEvent {}).await, Ok(2));
    app.bench.deliver_again().await;
    assert_eq!(app.published().await, ["created", "published"]);

    let delayed = app.bench.delayed::<EventCommand>().await;
    assert_eq!(delayed.len(), 1);
    let end = &delayed[0].envelope;
    assert_eq!(
        (end.key, end.due_at, end.time, end.actor.clone()),
        (EVENT, Some(ends_at), ends_at, Some(SELF))
    );
    app.bench.deliver_delayed().await;
    app.bench.deliver_again().await;
    let ended = app.bench.published::<EventEvent>().await;
    assert!(
        matches!(&ended[..], [EventEvent::EventEnded(event)] if event.ended_at == ends_at),
        "{ended:?}"
    );
}

#[tokio::test]
async fn what_was_cancelled_does_not_end() {
    let app = App::start().await;
    app.ask(draft()).await.expect("accepted");
    app.ask(PublishEvent {}).await.expect("accepted");
    assert_eq!(app.ask(CancelEvent { reason: "rain".into() }).await, Ok(3));
    app.bench.deliver_delayed().await;
    assert_eq!(app.published().await, ["created", "published", "cancelled"]);
}

#[tokio::test]
async fn to_publish_or_cancel_again_changes_nothing() {
    let app = App::start().await;
    app.ask(draft()).await.expect("accepted");
    assert_eq!(app.ask(PublishEvent {}).await, Ok(2));
    assert_eq!(app.ask(PublishEvent {}).await, Ok(2));
    assert_eq!(app.bench.delayed::<EventCommand>().await.len(), 1);
    assert_eq!(app.ask(CancelEvent { reason: "rain".into() }).await, Ok(3));
    assert_eq!(app.ask(CancelEvent { reason: "rain".into() }).await, Ok(3));
    assert_eq!(app.ask(PublishEvent {}).await, Err("event-cancelled".into()));
}

#[tokio::test]
async fn a_whole_life_in_one_batch() {
    let app = App::start().await;
    let batch = [
        by_ada(draft()),
        by_ada(PublishEvent {}),
        by_ada(CancelEvent { reason: "rain".into() }),
        by_ada(PublishEvent {}),
    ];
    app.bench.deliver_all(batch).await;
    assert_eq!(app.published().await, ["created", "published", "cancelled"]);
}

#[tokio::test]
async fn a_new_process_knows_what_the_old_one_knew() {
    let app = App::start().await;
    app.ask(draft()).await.expect("accepted");
    app.bench.restart();
    assert_eq!(app.ask(PublishEvent {}).await, Ok(2));
    app.bench.restart();
    assert_eq!(app.ask(draft()).await, Err("already-exists".into()));
    assert_eq!(app.published().await, ["created", "published"]);
}

#[tokio::test]
async fn nobody_else_can_end_publish_or_cancel() {
    let app = App::start().await;
    app.ask(draft()).await.expect("accepted");
    let eve = Actor::User(Uuid::from_u128(3));
    for body in [
        EventCommand::from(PublishEvent {}),
        CancelEvent { reason: "spite".into() }.into(),
        EndEvent {}.into(),
    ] {
        let command = Outgoing::new(EVENT, body).actor(eve.clone());
        assert_eq!(app.request(command).await, Err("event-unknown".into()));
    }
}

#[tokio::test]
async fn a_stale_version_is_refused() {
    let app = App::start().await;
    app.ask(draft()).await.expect("accepted");
    assert_eq!(
        app.request(by_ada(PublishEvent {}).expected_version(Some(2))).await,
        Err("version-conflict".into())
    );
    assert_eq!(
        app.request(by_ada(PublishEvent {}).expected_version(Some(1))).await,
        Ok(2)
    );
}

#[test]
fn the_readme_names_every_setting() {
    let readme = include_str!("../README.md");
    for setting in chassis::settings::describe(event::config::Config::from_settings) {
        assert!(readme.contains(&format!("`{}`", setting.name)), "{}", setting.name);
    }
}
