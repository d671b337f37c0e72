//! The service with its real store and pipeline.

mod accounts;
mod batches;
mod checking_in;
mod following;
mod seats;

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::{
    Actor, AnnouncementMade, AttendeeCheckedIn, CancelReason, CancelRegistration, CheckIn, Command, Details,
    EmailVerified, EventCancelled, EventChanged, EventCreated, EventEnded, EventEvent, EventPublished,
    EventRescheduled, EventStatus, FollowEvent, Register, RegistrationCancelled, RegistrationCommand,
    RegistrationEvent, Reply, SeatConfirmed, SeatPromoted, SeatWaitlisted, StaffNamed, Terms, Timestamp, UserChanged,
    UserCreated, UserDeactivated, UserErased, UserEvent,
};
use messaging::Outgoing;
use postgres::Postgres;
use registration::domain::SELF;
use registration::{MIGRATIONS, subscriptions};
use testing::{Bench, PostgresDatabase};
use uuid::Uuid;

const EVENT: Uuid = Uuid::from_u128(1);
const OTHER_EVENT: Uuid = Uuid::from_u128(2);
const ORGANIZER: Uuid = Uuid::from_u128(3);
const STAFF: Uuid = Uuid::from_u128(4);
const ADA: Uuid = Uuid::from_u128(11);
const BOB: Uuid = Uuid::from_u128(12);
const EVE: Uuid = Uuid::from_u128(13);

const HOUR: Duration = Duration::from_secs(3600);

struct App {
    bench: Bench<Postgres>,
    database: PostgresDatabase,
}

/// The result of a command: the version, or the code of the rejection.
type Outcome = Result<i64, String>;

impl App {
    async fn start() -> Self {
        let database = testing::postgres(&MIGRATIONS).await;
        let ledger = database.ledger();
        Self {
            bench: Bench::new("registration", ledger.clone(), ledger, subscriptions()),
            database,
        }
    }

    /// Publishes the event so that its roster is open.
    async fn has_event(&self, event: Uuid, details: Details) {
        let published = Outgoing::<EventEvent>::new(event, EventPublished { details });
        self.bench.deliver(published).await;
        self.bench.settle().await;
        self.published().await;
    }

    async fn request(&self, command: Outgoing<RegistrationCommand>) -> Outcome {
        outcome(self.bench.request(command).await)
    }

    /// Delivers all commands in one batch.
    async fn request_all(&self, commands: impl IntoIterator<Item = Outgoing<RegistrationCommand>>) -> Vec<Outcome> {
        let commands: Vec<_> = commands.into_iter().collect();
        let ids: Vec<_> = commands.iter().map(|command| command.id).collect();
        self.bench.deliver_all(commands).await;
        let mut outcomes = Vec::new();
        for id in ids {
            outcomes.push(outcome(self.bench.reply(id).await));
        }
        outcomes
    }

    /// Delivers a domain event of the event twice, as Kafka may, and lets the roster follow.
    async fn follows(&self, event: impl Into<EventEvent>) {
        self.bench.deliver(Outgoing::<EventEvent>::new(EVENT, event)).await;
        self.bench.deliver_again().await;
        self.bench.settle().await;
    }

    /// Returns the domain events that were published since the last call.
    async fn published(&self) -> Vec<RegistrationEvent> {
        self.bench.published().await
    }

    /// Returns the columns id, user_id, status and position of all registrations.
    async fn rows(&self) -> Vec<(Uuid, Uuid, String, i64)> {
        sqlx::query_as("SELECT id, user_id, status, position FROM registrations ORDER BY id")
            .fetch_all(self.database.pool())
            .await
            .expect("registrations can be read")
    }

    /// Returns the number of registrations per value of the column status.
    async fn status_counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (_, _, status, _) in self.rows().await {
            *counts.entry(status).or_default() += 1;
        }
        counts
    }
}

fn outcome(reply: Reply) -> Outcome {
    match reply {
        Reply::CommandAccepted(accepted) => Ok(accepted.version),
        Reply::CommandRejected(rejected) => Err(rejected.code),
        Reply::CommandFailed(failed) => panic!("{failed:?}"),
    }
}

fn seats(capacity: i32) -> Details {
    let starts_at = Timestamp::now() + 24 * HOUR;
    Details {
        organizer_id: ORGANIZER,
        title: "On computable numbers".into(),
        description: String::new(),
        venue: "Room 12".into(),
        starts_at,
        ends_at: starts_at + 3 * HOUR,
        time_zone: "Europe/London".into(),
        capacity,
        registration_closes_at: starts_at,
        waiting_list: true,
        registration_opens_at: None,
        staff: vec![],
    }
}

fn created() -> EventCreated {
    EventCreated { details: seats(1) }
}

fn published(details: Details) -> Outgoing<EventEvent> {
    Outgoing::new(EVENT, EventPublished { details })
}

/// An event that starts in an hour, so check-in is open.
fn soon(capacity: i32) -> Details {
    let starts_at = Timestamp::now() + HOUR;
    Details {
        starts_at,
        ends_at: starts_at + 3 * HOUR,
        registration_closes_at: starts_at,
        ..seats(capacity)
    }
}

fn follow(event_sequence: i64, capacity: i32) -> Outgoing<RegistrationCommand> {
    let details = seats(capacity);
    let terms = Terms {
        organizer_id: details.organizer_id,
        capacity,
        waiting_list: details.waiting_list,
        registration_closes_at: details.registration_closes_at,
        starts_at: details.starts_at,
        ends_at: details.ends_at,
        registration_opens_at: details.registration_opens_at,
        staff: details.staff,
    };
    let follow = FollowEvent {
        event_sequence,
        status: EventStatus::Published,
        terms: Some(terms),
    };
    Outgoing::new(EVENT, follow).actor(SELF)
}

/// Returns the id of a user's registration for an event.
fn of(event: Uuid, user: Uuid) -> Uuid {
    Uuid::from_u128(event.as_u128() * 1_000_000 + user.as_u128())
}

fn register_for(event: Uuid, user_id: Uuid) -> Outgoing<RegistrationCommand> {
    Outgoing::new(
        event,
        Register {
            registration_id: of(event, user_id),
            user_id,
        },
    )
    .actor(Actor::User(user_id))
}

fn register(user: Uuid) -> Outgoing<RegistrationCommand> {
    register_for(EVENT, user)
}

fn cancel(user: Uuid) -> Outgoing<RegistrationCommand> {
    let cancel = CancelRegistration {
        registration_id: of(EVENT, user),
        reason: CancelReason::ByAttendee,
    };
    Outgoing::new(EVENT, cancel).actor(Actor::User(user))
}

/// A check-in by the event's staff.
fn check_in(user: Uuid) -> Outgoing<RegistrationCommand> {
    let registration_id = of(EVENT, user);
    Outgoing::new(EVENT, CheckIn { registration_id }).actor(Actor::User(STAFF))
}

fn confirmed(user_id: Uuid) -> RegistrationEvent {
    SeatConfirmed {
        registration_id: of(EVENT, user_id),
        user_id,
    }
    .into()
}

fn waitlisted(user_id: Uuid) -> RegistrationEvent {
    SeatWaitlisted {
        registration_id: of(EVENT, user_id),
        user_id,
    }
    .into()
}

fn promoted(user_id: Uuid) -> RegistrationEvent {
    SeatPromoted {
        registration_id: of(EVENT, user_id),
        user_id,
    }
    .into()
}

fn cancelled(user_id: Uuid, reason: CancelReason, had_seat: bool) -> RegistrationEvent {
    RegistrationCancelled {
        registration_id: of(EVENT, user_id),
        user_id,
        reason,
        had_seat,
    }
    .into()
}

fn deactivated() -> UserDeactivated {
    UserDeactivated {
        reason: String::new(),
        deactivated_at: Timestamp::now(),
    }
}

fn users(count: u128) -> impl Iterator<Item = Uuid> {
    (0..count).map(|n| Uuid::from_u128(1_000 + n))
}

#[test]
fn the_readme_names_every_setting() {
    let readme = include_str!("../../README.md");
    for setting in chassis::settings::describe(registration::config::Config::from_settings) {
        assert!(readme.contains(&format!("`{}`", setting.name)), "{}", setting.name);
    }
}
