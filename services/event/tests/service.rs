//! The service with its real store and pipeline.

use std::time::Duration;

use contracts::{
    Actor, Announce, CancelEvent, ChangeEvent, CreateEvent, EndEvent, EventCommand, EventEvent, NameStaff,
    PublishEvent, Reply, RescheduleEvent, Timestamp,
};
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
    database: PostgresDatabase,
}

impl App {
    async fn start() -> Self {
        let database = testing::postgres(&MIGRATIONS).await;
        let ledger = database.ledger();
        Self {
            bench: Bench::new("event", ledger.clone(), ledger, subscriptions()),
            database,
        }
    }

    async fn request_by_organizer(&self, body: impl Into<EventCommand>) -> Result<i64, String> {
        self.request(by_ada(body)).await
    }

    async fn request(&self, command: Outgoing<EventCommand>) -> Result<i64, String> {
        match self.bench.request(command).await {
            Reply::CommandAccepted(accepted) => Ok(accepted.version),
            Reply::CommandRejected(rejected) => Err(rejected.code),
            Reply::CommandFailed(failed) => panic!("{failed:?}"),
        }
    }

    /// Returns short names of the domain events that were published since the last call.
    async fn published(&self) -> Vec<&'static str> {
        let published = self.bench.published::<EventEvent>().await;
        let names = published.iter().map(|event| match event {
            EventEvent::EventCreated(_) => "created",
            EventEvent::EventChanged(_) => "changed",
            EventEvent::EventPublished(_) => "published",
            EventEvent::EventRescheduled(_) => "rescheduled",
            EventEvent::StaffNamed(_) => "staff named",
            EventEvent::AnnouncementMade(_) => "announced",
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
        registration_opens_at: None,
    }
}

fn seats(capacity: i32) -> ChangeEvent {
    ChangeEvent {
        capacity: Some(capacity),
        ..ChangeEvent::default()
    }
}

/// A command that moves the event to this start and keeps its duration.
fn to(starts_at: Timestamp) -> RescheduleEvent {
    RescheduleEvent {
        starts_at,
        ends_at: starts_at + 3 * HOUR,
        time_zone: None,
        registration_opens_at: None,
        registration_closes_at: None,
    }
}

fn announcement() -> Announce {
    Announce {
        announcement_id: Uuid::from_u128(8),
        subject: "Bring paper".into(),
        body: "And *pencils*.".into(),
    }
}

#[tokio::test]
async fn an_event_is_drafted_published_and_ended() {
    let app = App::start().await;
    let draft = draft();
    let ends_at = draft.ends_at;
    assert_eq!(app.request_by_organizer(draft).await, Ok(1));
    assert_eq!(app.request_by_organizer(PublishEvent {}).await, Ok(2));
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
async fn a_draft_and_an_event_are_changed() {
    let app = App::start().await;
    let draft = draft();
    app.request_by_organizer(draft.clone()).await.expect("accepted");
    assert_eq!(app.request_by_organizer(seats(50)).await, Ok(2));
    app.bench.deliver_again().await;
    let staff = vec![Uuid::from_u128(3)];
    assert_eq!(
        app.request_by_organizer(NameStaff { staff: staff.clone() }).await,
        Ok(3)
    );
    assert_eq!(app.request_by_organizer(PublishEvent {}).await, Ok(4));
    let published = app.bench.published::<EventEvent>().await;
    match published.last() {
        Some(EventEvent::EventPublished(published)) => {
            assert_eq!((published.details.capacity, &published.details.staff), (50, &staff));
        }
        other => panic!("{other:?}"),
    }

    app.bench.restart();
    assert_eq!(app.request_by_organizer(seats(60)).await, Ok(5));
    app.bench.deliver_again().await;
    assert_eq!(
        app.request_by_organizer(seats(60)).await,
        Ok(5),
        "the second change has no difference"
    );
    let another_end = ChangeEvent {
        ends_at: Some(draft.ends_at + HOUR),
        ..ChangeEvent::default()
    };
    assert_eq!(
        app.request_by_organizer(another_end).await,
        Err("use-reschedule".into())
    );
    match &app.bench.published::<EventEvent>().await[..] {
        [EventEvent::EventChanged(changed)] => {
            assert_eq!((changed.details.capacity, changed.published), (60, true));
            assert_eq!(changed.details.staff, staff);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_rescheduled_event_ends_once_and_at_its_new_end() {
    let app = App::start().await;
    let draft = draft();
    app.request_by_organizer(draft.clone()).await.expect("accepted");
    app.request_by_organizer(PublishEvent {}).await.expect("accepted");
    assert_eq!(app.request_by_organizer(to(draft.starts_at + HOUR)).await, Ok(3));
    app.bench.deliver_again().await;
    assert_eq!(app.published().await, ["created", "published", "rescheduled"]);

    let ends = app.bench.delayed::<EventCommand>().await;
    let ends: Vec<_> = ends
        .iter()
        .map(|end| (end.envelope.due_at, end.envelope.time))
        .collect();
    let new_end = draft.ends_at + HOUR;
    assert_eq!(ends, [draft.ends_at, new_end].map(|end| (Some(end), end)));
    app.bench.deliver_delayed().await;
    app.bench.deliver_again().await;
    let ended = app.bench.published::<EventEvent>().await;
    assert!(
        matches!(&ended[..], [EventEvent::EventEnded(event)] if event.ended_at == new_end),
        "{ended:?}"
    );
}

#[tokio::test]
async fn an_event_moved_to_an_earlier_time_ends_earlier() {
    let app = App::start().await;
    let draft = draft();
    app.request_by_organizer(draft.clone()).await.expect("accepted");
    app.request_by_organizer(PublishEvent {}).await.expect("accepted");
    app.request_by_organizer(to(draft.starts_at - HOUR))
        .await
        .expect("accepted");
    app.published().await;
    app.bench.deliver_delayed().await;
    let ended = app.bench.published::<EventEvent>().await;
    assert!(
        matches!(&ended[..], [EventEvent::EventEnded(event)] if event.ended_at == draft.ends_at - HOUR),
        "{ended:?}"
    );
}

#[tokio::test]
async fn an_announcement_that_arrives_twice_is_made_once() {
    let app = App::start().await;
    app.request_by_organizer(draft()).await.expect("accepted");
    app.request_by_organizer(PublishEvent {}).await.expect("accepted");
    assert_eq!(app.request_by_organizer(announcement()).await, Ok(3));
    app.bench.deliver_again().await;
    assert_eq!(app.published().await, ["created", "published", "announced"]);
}

#[tokio::test]
async fn an_admin_may_do_everything_that_the_organizer_may() {
    let app = App::start().await;
    let draft = draft();
    app.request_by_organizer(draft.clone()).await.expect("accepted");
    let moved = to(draft.starts_at + HOUR);
    let all: [EventCommand; 6] = [
        seats(50).into(),
        PublishEvent {}.into(),
        NameStaff { staff: vec![] }.into(),
        moved.into(),
        announcement().into(),
        CancelEvent { reason: "rain".into() }.into(),
    ];
    for body in all {
        let command = Outgoing::new(EVENT, body).actor(Actor::Admin(Uuid::from_u128(3)));
        app.request(command).await.expect("accepted");
    }
    assert_eq!(
        app.published().await,
        [
            "created",
            "changed",
            "published",
            "rescheduled",
            "announced",
            "cancelled"
        ]
    );
}

#[tokio::test]
async fn a_cancelled_event_does_not_end() {
    let app = App::start().await;
    app.request_by_organizer(draft()).await.expect("accepted");
    app.request_by_organizer(PublishEvent {}).await.expect("accepted");
    assert_eq!(
        app.request_by_organizer(CancelEvent { reason: "rain".into() }).await,
        Ok(3)
    );
    app.bench.deliver_delayed().await;
    assert_eq!(app.published().await, ["created", "published", "cancelled"]);
}

#[tokio::test]
async fn publishing_or_cancelling_again_changes_nothing() {
    let app = App::start().await;
    app.request_by_organizer(draft()).await.expect("accepted");
    assert_eq!(app.request_by_organizer(PublishEvent {}).await, Ok(2));
    assert_eq!(app.request_by_organizer(PublishEvent {}).await, Ok(2));
    assert_eq!(app.bench.delayed::<EventCommand>().await.len(), 1);
    assert_eq!(
        app.request_by_organizer(CancelEvent { reason: "rain".into() }).await,
        Ok(3)
    );
    assert_eq!(
        app.request_by_organizer(CancelEvent { reason: "rain".into() }).await,
        Ok(3)
    );
    assert_eq!(
        app.request_by_organizer(PublishEvent {}).await,
        Err("event-cancelled".into())
    );
}

#[tokio::test]
async fn an_event_passes_through_its_whole_life_in_one_batch() {
    let app = App::start().await;
    let draft = draft();
    let moved = to(draft.starts_at + HOUR);
    let batch = [
        by_ada(draft),
        by_ada(seats(50)),
        by_ada(PublishEvent {}),
        by_ada(moved.clone()),
        by_ada(moved),
        by_ada(announcement()),
        by_ada(CancelEvent { reason: "rain".into() }),
        by_ada(PublishEvent {}),
    ];
    app.bench.deliver_all(batch).await;
    assert_eq!(
        app.published().await,
        [
            "created",
            "changed",
            "published",
            "rescheduled",
            "announced",
            "cancelled"
        ]
    );
}

#[tokio::test]
async fn a_new_process_continues_from_the_stored_state() {
    let app = App::start().await;
    app.request_by_organizer(draft()).await.expect("accepted");
    app.bench.restart();
    assert_eq!(app.request_by_organizer(PublishEvent {}).await, Ok(2));
    app.bench.restart();
    assert_eq!(app.request_by_organizer(draft()).await, Err("already-exists".into()));
    assert_eq!(app.published().await, ["created", "published"]);
}

#[tokio::test]
async fn a_snapshot_of_an_older_shape_is_rebuilt_from_the_journal() {
    let app = App::start().await;
    app.request_by_organizer(draft()).await.expect("accepted");
    // The stored details lack required fields.
    let old_shape = r#"{"status":"Draft","details":{"organizer_id":"00000000-0000-0000-0000-000000000002"}}"#;
    sqlx::query("INSERT INTO snapshots (stream_id, aggregate, version, state) VALUES ($1, 'event.event', 1, $2)")
        .bind(EVENT)
        .bind(old_shape)
        .execute(app.database.pool())
        .await
        .expect("a snapshot can be written");
    app.bench.restart();
    assert_eq!(app.request_by_organizer(PublishEvent {}).await, Ok(2));
}

#[tokio::test]
async fn other_users_cannot_end_publish_or_cancel() {
    let app = App::start().await;
    app.request_by_organizer(draft()).await.expect("accepted");
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
async fn a_stale_version_is_rejected() {
    let app = App::start().await;
    app.request_by_organizer(draft()).await.expect("accepted");
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
