//! The service with its real store and pipeline.

#[path = "support/commands.rs"]
mod commands;

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::{
    Actor, CancelReason, CancelRegistration, Command, EventCancelled, EventEnded, EventEvent, EventPublished,
    EventStatus, FollowEvent, Register, RegistrationCancelled, RegistrationCommand, RegistrationEvent, Reply,
    SeatConfirmed, SeatPromoted, SeatWaitlisted, Terms, Timestamp, UserCreated, UserDeactivated, UserEvent,
};
use messaging::Outgoing;
use postgres::Postgres;
use proptest::prelude::*;
use registration::domain::SELF;
use registration::{MIGRATIONS, subscriptions};
use testing::{Bench, PostgresDatabase};
use uuid::Uuid;

const EVENT: Uuid = Uuid::from_u128(1);
const OTHER_EVENT: Uuid = Uuid::from_u128(2);
const ORGANIZER: Uuid = Uuid::from_u128(3);
const ADA: Uuid = Uuid::from_u128(11);
const BOB: Uuid = Uuid::from_u128(12);
const EVE: Uuid = Uuid::from_u128(13);

const HOUR: Duration = Duration::from_secs(3600);

struct App {
    bench: Bench<Postgres>,
    database: PostgresDatabase,
}

/// How a command went: the version, or the code of the no.
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

    /// The event was published, and its roster is open.
    async fn has_event(&self, event: Uuid, published: EventPublished) {
        self.bench.deliver(Outgoing::<EventEvent>::new(event, published)).await;
        self.bench.settle().await;
        self.published().await;
    }

    async fn ask(&self, command: Outgoing<RegistrationCommand>) -> Outcome {
        outcome(self.bench.request(command).await)
    }

    /// All in one batch.
    async fn ask_all(&self, commands: impl IntoIterator<Item = Outgoing<RegistrationCommand>>) -> Vec<Outcome> {
        let commands: Vec<_> = commands.into_iter().collect();
        let ids: Vec<_> = commands.iter().map(|command| command.id).collect();
        self.bench.deliver_all(commands).await;
        let mut outcomes = Vec::new();
        for id in ids {
            outcomes.push(outcome(self.bench.reply(id).await));
        }
        outcomes
    }

    /// What was published since this was asked last.
    async fn published(&self) -> Vec<RegistrationEvent> {
        self.bench.published().await
    }

    /// Registration, person, place and position.
    async fn rows(&self) -> Vec<(Uuid, Uuid, String, i64)> {
        sqlx::query_as("SELECT id, user_id, place, position FROM registrations ORDER BY id")
            .fetch_all(self.database.pool())
            .await
            .expect("registrations can be read")
    }

    /// How many registrations are in each place.
    async fn places(&self) -> BTreeMap<String, usize> {
        let mut places = BTreeMap::new();
        for (_, _, place, _) in self.rows().await {
            *places.entry(place).or_default() += 1;
        }
        places
    }
}

fn outcome(reply: Reply) -> Outcome {
    match reply {
        Reply::CommandAccepted(accepted) => Ok(accepted.version),
        Reply::CommandRejected(rejected) => Err(rejected.code),
        Reply::CommandFailed(failed) => panic!("{failed:?}"),
    }
}

fn seats(capacity: i32) -> EventPublished {
    let starts_at = Timestamp::now() + 24 * HOUR;
    EventPublished {
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
    }
}

fn follow(event_sequence: i64, capacity: i32) -> Outgoing<RegistrationCommand> {
    let published = seats(capacity);
    let terms = Terms {
        organizer_id: published.organizer_id,
        capacity,
        waiting_list: published.waiting_list,
        registration_closes_at: published.registration_closes_at,
        starts_at: published.starts_at,
        ends_at: published.ends_at,
    };
    let follow = FollowEvent {
        event_sequence,
        status: EventStatus::Published,
        terms: Some(terms),
    };
    Outgoing::new(EVENT, follow).actor(SELF)
}

/// The registration of a user for an event, for short.
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

fn people(count: u128) -> impl Iterator<Item = Uuid> {
    (0..count).map(|n| Uuid::from_u128(1_000 + n))
}

#[tokio::test]
async fn a_published_event_opens_its_roster() {
    let app = App::start().await;
    app.bench.deliver(Outgoing::<EventEvent>::new(EVENT, seats(1))).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    let published = app.published().await;
    assert!(
        matches!(&published[..], [RegistrationEvent::RosterOpened(opened)] if opened.capacity == 1),
        "{published:?}"
    );
}

#[tokio::test]
async fn a_cancelled_seat_goes_to_the_first_on_the_waiting_list() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    for (user, version) in [(ADA, 2), (BOB, 3), (EVE, 4)] {
        assert_eq!(app.ask(register(user)).await, Ok(version));
    }
    assert_eq!(
        app.published().await,
        [confirmed(ADA), waitlisted(BOB), waitlisted(EVE)]
    );

    assert_eq!(app.ask(cancel(ADA)).await, Ok(6));
    app.bench.deliver_again().await;

    assert_eq!(
        app.published().await,
        [cancelled(ADA, CancelReason::ByAttendee, true), promoted(BOB)]
    );
    let row = |user, place: &str, position| (of(EVENT, user), user, place.to_owned(), position);
    assert_eq!(
        app.rows().await,
        [row(ADA, "cancelled", 2), row(BOB, "seat", 3), row(EVE, "waiting", 4)]
    );
}

#[tokio::test]
async fn come_and_go_in_one_batch() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    let again = Uuid::from_u128(77);
    let anew = Outgoing::new(
        EVENT,
        Register {
            registration_id: again,
            user_id: ADA,
        },
    )
    .actor(Actor::User(ADA));
    let batch = [
        register(ADA),
        register(BOB),
        register(ADA),
        cancel(ADA),
        anew,
        cancel(ADA),
        cancel(BOB),
    ];
    let outcomes = app.ask_all(batch).await;
    assert_eq!(
        outcomes,
        [
            Ok(2),
            Ok(3),
            Err("already-registered".into()),
            Ok(5),
            Ok(6),
            Ok(6),
            Ok(8)
        ]
    );
    let row = |id, user, place: &str, position| (id, user, place.to_owned(), position);
    let expected = [
        row(again, ADA, "seat", 6),
        row(of(EVENT, ADA), ADA, "cancelled", 2),
        row(of(EVENT, BOB), BOB, "cancelled", 3),
    ];
    assert_eq!(app.rows().await, expected);
}

#[tokio::test]
async fn who_left_can_come_again_in_the_same_batch() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.ask(register(ADA)).await.expect("accepted");
    let anew = Register {
        registration_id: Uuid::from_u128(77),
        user_id: ADA,
    };
    let anew = Outgoing::new(EVENT, anew).actor(Actor::User(ADA));
    assert_eq!(app.ask_all([cancel(ADA), anew]).await, [Ok(3), Ok(4)]);
}

#[tokio::test]
async fn a_registration_id_belongs_to_one_event() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.has_event(OTHER_EVENT, seats(1)).await;
    app.ask(register(ADA)).await.expect("accepted");
    let same_id = Register {
        registration_id: of(EVENT, ADA),
        user_id: BOB,
    };
    let same_id = Outgoing::new(OTHER_EVENT, same_id).actor(Actor::User(BOB));
    assert_eq!(app.ask(same_id).await, Err("already-exists".into()));
}

#[tokio::test]
async fn a_registration_that_comes_before_its_event_waits_for_it() {
    let app = App::start().await;
    let id = app.bench.deliver(register(ADA)).await;
    app.bench.deliver_again().await;
    assert_eq!(app.bench.replies(id).await, []);

    app.has_event(EVENT, seats(1)).await;
    app.bench.deliver_delayed().await;
    assert_eq!(outcome(app.bench.reply(id).await), Ok(2));
    assert_eq!(app.published().await, [confirmed(ADA)]);
}

#[tokio::test]
async fn what_never_comes_is_unknown_in_the_end() {
    let app = App::start().await;
    app.has_event(OTHER_EVENT, seats(1)).await;
    let elsewhere = CancelRegistration {
        registration_id: of(OTHER_EVENT, ADA),
        reason: CancelReason::ByAttendee,
    };
    let elsewhere = Outgoing::new(OTHER_EVENT, elsewhere).actor(Actor::User(ADA));
    for (command, code) in [
        (register(ADA), "event-unknown"),
        (cancel(ADA), "registration-unknown"),
        (elsewhere, "registration-unknown"),
    ] {
        let id = app.bench.deliver(command).await;
        let mut rounds = 0;
        while app.bench.replies(id).await.is_empty() {
            app.bench.deliver_delayed().await;
            rounds += 1;
            assert!(rounds < 20, "it is given up");
        }
        assert_eq!(outcome(app.bench.reply(id).await), Err(code.to_owned()));
    }
}

#[tokio::test]
async fn late_reaction_is_superseded() {
    let app = App::start().await;
    app.ask(follow(3, 5)).await.expect("accepted");
    assert_eq!(app.ask(follow(2, 9)).await, Ok(1));
    let published = app.published().await;
    assert!(
        matches!(&published[..], [RegistrationEvent::RosterOpened(opened)] if opened.capacity == 5),
        "{published:?}"
    );
}

#[tokio::test]
async fn more_seats_go_to_those_who_wait() {
    let app = App::start().await;
    app.ask(follow(2, 1)).await.expect("accepted");
    app.ask_all([register(ADA), register(BOB), register(EVE)]).await;
    app.published().await;
    // Those who wait are found in the store, and one of them leaves in the same batch.
    app.ask_all([cancel(BOB), follow(3, 2)]).await;
    let published = app.published().await;
    assert_eq!(published[0], cancelled(BOB, CancelReason::ByAttendee, false));
    assert_eq!(published[2..], [promoted(EVE)]);
}

#[tokio::test]
async fn a_cancelled_event_ends_every_registration() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.ask_all([register(ADA), register(BOB)]).await;
    app.published().await;

    let event = EventCancelled {
        reason: "rain".into(),
        cancelled_at: Timestamp::now(),
    };
    app.bench.deliver(Outgoing::<EventEvent>::new(EVENT, event)).await;
    app.bench.settle().await;

    let published = app.published().await;
    assert!(
        matches!(published[0], RegistrationEvent::RosterClosed(_)),
        "{published:?}"
    );
    let reason = CancelReason::EventCancelled;
    assert_eq!(
        published[1..],
        [cancelled(ADA, reason, true), cancelled(BOB, reason, false)]
    );
    assert_eq!(app.ask(register(EVE)).await, Err("event-cancelled".into()));
}

#[tokio::test]
async fn a_big_roster_is_closed_in_pieces() {
    const PEOPLE: u128 = 2_300;
    let app = App::start().await;
    app.has_event(EVENT, seats(2_000)).await;
    app.bench.deliver_all(people(PEOPLE).map(register)).await;
    app.published().await;
    assert_eq!(
        app.places().await,
        [("seat".to_owned(), 2_000), ("waiting".to_owned(), 300)].into()
    );

    let event = EventCancelled {
        reason: "rain".into(),
        cancelled_at: Timestamp::now(),
    };
    app.bench.deliver(Outgoing::<EventEvent>::new(EVENT, event)).await;
    app.bench.settle().await;

    assert_eq!(app.places().await, [("cancelled".to_owned(), 2_300)].into());
    let published = app.published().await;
    let users = published.iter().filter_map(|event| match event {
        RegistrationEvent::RegistrationCancelled(cancelled) => Some(cancelled.user_id),
        _ => None,
    });
    assert!(users.eq(people(PEOPLE)), "everybody once, first come first");
}

#[tokio::test]
async fn an_event_that_is_over_takes_nobody_any_more() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.ask(register(ADA)).await.expect("accepted");
    app.bench
        .deliver(Outgoing::<EventEvent>::new(
            EVENT,
            EventEnded {
                ended_at: Timestamp::now(),
            },
        ))
        .await;
    app.bench.settle().await;
    assert_eq!(app.ask(register(BOB)).await, Err("event-ended".into()));
    assert_eq!(app.places().await, [("seat".to_owned(), 1)].into());
}

#[tokio::test]
async fn who_closes_their_account_gives_up_every_seat() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.has_event(OTHER_EVENT, seats(1)).await;
    app.bench
        .deliver(Outgoing::<UserEvent>::new(
            ADA,
            UserCreated {
                created_at: Timestamp::now(),
            },
        ))
        .await;
    app.ask_all([register(ADA), register(BOB), register_for(OTHER_EVENT, ADA)])
        .await;
    app.published().await;

    app.bench.deliver(Outgoing::<UserEvent>::new(ADA, deactivated())).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;

    let reason = CancelReason::UserDeactivated;
    let elsewhere = RegistrationCancelled {
        registration_id: of(OTHER_EVENT, ADA),
        user_id: ADA,
        reason,
        had_seat: true,
    };
    let mut published = app.published().await;
    let place = published
        .iter()
        .position(|event| *event == elsewhere.clone().into())
        .expect("both seats");
    published.remove(place);
    assert_eq!(published, [cancelled(ADA, reason, true), promoted(BOB)]);
    assert_eq!(
        app.ask(register_for(OTHER_EVENT, ADA)).await,
        Err("user-deactivated".into())
    );
}

#[tokio::test]
async fn no_seat_slips_between_registering_and_closing_the_account() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1_000)).await;
    app.has_event(OTHER_EVENT, seats(1_000)).await;
    for user in people(40) {
        // Two topics, two workers, at the same time. Half of them have registered before.
        if user.as_u128() % 2 == 0 {
            app.ask(register_for(OTHER_EVENT, user)).await.expect("accepted");
        }
        app.bench.append(register(user));
        app.bench.append(Outgoing::<UserEvent>::new(user, deactivated()));
        app.bench.catch_up().await;
        app.bench.settle().await;
    }
    let places = app.places().await;
    assert!(places.keys().all(|place| place == "cancelled"), "{places:?}");
}

#[tokio::test]
async fn only_ourselves_follow_events() {
    let app = App::start().await;
    let command = follow(2, 1).actor(Actor::User(ORGANIZER));
    assert_eq!(app.ask(command).await, Err("forbidden".into()));
}

#[tokio::test]
async fn a_new_process_knows_what_the_old_one_knew() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.ask_all([register(ADA), register(BOB)]).await;
    app.bench.restart();
    assert_eq!(app.ask(register(ADA)).await, Err("already-registered".into()));
    assert_eq!(app.ask(register(EVE)).await, Ok(4));
    assert_eq!(app.ask(cancel(ADA)).await, Ok(6));
}

#[test]
fn the_readme_names_every_setting() {
    let readme = include_str!("../README.md");
    for setting in chassis::settings::describe(registration::config::Config::from_settings) {
        assert!(readme.contains(&format!("`{}`", setting.name)), "{}", setting.name);
    }
}

fn outgoing(command: &Command<RegistrationCommand>) -> Outgoing<RegistrationCommand> {
    let actor = command.actor.clone().expect("every command has an actor");
    Outgoing::new(command.key, command.body.clone())
        .time(command.time)
        .actor(actor)
}

/// What the commands lead to, in batches of these sizes: domain events and rows. Deferred commands stay deferred.
async fn run(
    commands: &[Command<RegistrationCommand>],
    sizes: &[usize],
) -> (Vec<RegistrationEvent>, Vec<(Uuid, Uuid, String, i64)>) {
    let app = App::start().await;
    app.bench
        .deliver(Outgoing::<UserEvent>::new(
            commands::user(commands::USERS - 1),
            deactivated(),
        ))
        .await;
    let mut rest = commands;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (batch, later) = rest.split_at((*size).min(rest.len()));
        rest = later;
        app.bench.deliver_all(batch.iter().map(outgoing)).await;
    }
    (app.published().await, app.rows().await)
}

// The rules are held by tests/properties.rs, over a store that is simple enough to be believed. This holds that the
// real one looks up and writes the same.
proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_equals_one_by_one(
        crowd in commands::any_crowd(),
        middle in commands::any_commands(6),
        ending in commands::any_ending(),
        sizes in prop::collection::vec(2..20_usize, 8),
    ) {
        // Expired commands are not executed: the times of the commands must not be long ago.
        let shift = Timestamp::now().since(commands::morning());
        let all: Vec<_> = crowd.into_iter().chain(middle).chain(ending).map(|command| later(command, shift)).collect();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
        let (batched, one_by_one) = runtime.block_on(async { (run(&all, &sizes).await, run(&all, &[1]).await) });
        prop_assert_eq!(batched, one_by_one);
    }
}

/// The same command, all its times moved.
fn later(command: Command<RegistrationCommand>, by: Duration) -> Command<RegistrationCommand> {
    let body = match command.body {
        RegistrationCommand::FollowEvent(follow) => {
            let terms = follow.terms.map(|terms| Terms {
                registration_closes_at: terms.registration_closes_at + by,
                starts_at: terms.starts_at + by,
                ends_at: terms.ends_at + by,
                ..terms
            });
            FollowEvent { terms, ..follow }.into()
        }
        body => body,
    };
    Command {
        time: command.time + by,
        body,
        ..command
    }
}
