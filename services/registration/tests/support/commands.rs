//! Commands to two rosters from a few users: few enough to conflict often.

use std::time::Duration;

use contracts::{
    Actor, CancelReason, CancelRegistration, CheckIn, Command, ContinueClosing, EventStatus, FollowEvent, Register,
    RegistrationCommand, Terms, Timestamp,
};
use proptest::prelude::*;
use registration::domain::SELF;
use uuid::Uuid;

pub(crate) const EVENTS: u128 = 2;
pub(crate) const USERS: u128 = 7;
pub(crate) const REGISTRATIONS: u128 = 14;

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn event(n: u128) -> Uuid {
    Uuid::from_u128(100 + n)
}

pub(crate) fn user(n: u128) -> Uuid {
    Uuid::from_u128(200 + n)
}

pub(crate) fn registration(n: u128) -> Uuid {
    Uuid::from_u128(300 + n)
}

fn organizer() -> Uuid {
    Uuid::from_u128(400)
}

/// May check in attendees if the terms name this user.
fn staff() -> Uuid {
    Uuid::from_u128(401)
}

fn admin() -> Uuid {
    Uuid::from_u128(402)
}

pub(crate) fn morning() -> Timestamp {
    Timestamp::parse("2026-03-01T08:00:00Z").expect("a valid time")
}

pub(crate) fn command(
    key: Uuid,
    actor: Actor,
    time: Timestamp,
    body: impl Into<RegistrationCommand>,
) -> Command<RegistrationCommand> {
    Command {
        id: Uuid::nil(),
        key,
        actor: Some(actor),
        time,
        expected_version: None,
        last_attempt: false,
        body: body.into(),
    }
}

fn any_user() -> impl Strategy<Value = Uuid> {
    (0..USERS).prop_map(user)
}

fn any_actor() -> impl Strategy<Value = Actor> {
    prop_oneof![
        6 => Just(Actor::service("gateway")),
        2 => Just(SELF),
        2 => any_user().prop_map(Actor::User),
        1 => Just(Actor::User(organizer())),
        1 => Just(Actor::User(staff())),
        1 => Just(Actor::Admin(admin())),
    ]
}

fn any_reason() -> impl Strategy<Value = CancelReason> {
    prop_oneof![Just(CancelReason::ByOrganizer), Just(CancelReason::UserDeactivated)]
}

/// Starts at a random hour of the day so that successive terms move the event.
fn any_terms() -> impl Strategy<Value = Terms> {
    let staffed = prop::bool::weighted(0.7);
    let opens_in = prop::option::weighted(0.2, 0..3_u32);
    let waiting_list = prop::bool::weighted(0.8);
    (0..6_i32, waiting_list, 2..8_u32, opens_in, staffed).prop_map(
        |(capacity, waiting_list, starts_in, opens_in, staffed)| Terms {
            organizer_id: organizer(),
            capacity,
            waiting_list,
            registration_closes_at: morning() + (starts_in - 1) * HOUR,
            starts_at: morning() + starts_in * HOUR,
            ends_at: morning() + (starts_in + 2) * HOUR,
            registration_opens_at: opens_in.map(|hour| morning() + hour * HOUR),
            staff: if staffed { vec![staff()] } else { Vec::new() },
        },
    )
}

fn any_follow() -> impl Strategy<Value = FollowEvent> {
    let status = prop_oneof![12 => Just(EventStatus::Published), 1 => Just(EventStatus::Cancelled), 1 => Just(EventStatus::Ended)];
    (1..12_i64, status, any_terms()).prop_map(|(event_sequence, status, terms)| FollowEvent {
        event_sequence,
        status,
        terms: (status == EventStatus::Published).then_some(terms),
    })
}

/// A registration and, in most cases, its event, because commands that find nothing test little.
fn any_registration() -> impl Strategy<Value = (Uuid, Uuid)> {
    (0..REGISTRATIONS, prop::bool::weighted(0.05))
        .prop_map(|(n, elsewhere)| (event((n + u128::from(elsewhere)) % EVENTS), registration(n)))
}

fn any_command(latest: u32) -> impl Strategy<Value = Command<RegistrationCommand>> {
    let about = prop_oneof![
        3 => (0..EVENTS, any_follow()).prop_map(|(n, follow)| (event(n), SELF, follow.into())).boxed(),
        10 => (any_registration(), any_actor(), any_user())
            .prop_map(|((event, registration_id), actor, user_id)| {
                (event, actor, RegistrationCommand::from(Register { registration_id, user_id }))
            })
            .boxed(),
        8 => (any_registration(), any_actor(), any_reason())
            .prop_map(|((event, registration_id), actor, reason)| {
                (event, actor, CancelRegistration { registration_id, reason }.into())
            })
            .boxed(),
        8 => (any_registration(), any_actor())
            .prop_map(|((event, registration_id), actor)| (event, actor, CheckIn { registration_id }.into()))
            .boxed(),
        1 => (0..EVENTS).prop_map(|n| (event(n), SELF, ContinueClosing {}.into())).boxed(),
    ];
    (0..=latest, about).prop_map(|(hour, (event, actor, body))| command(event, actor, morning() + hour * HOUR, body))
}

/// Some attendees are checked in, some cancel, the event is cancelled, and the remaining registrations are cancelled.
pub(crate) fn any_ending() -> impl Strategy<Value = Vec<Command<RegistrationCommand>>> {
    (prop::collection::vec((0..USERS, any::<bool>()), 0..6), 0..3_usize).prop_map(|(some, pieces)| {
        let before = some.into_iter().map(|(n, is_check_in)| {
            let registration_id = registration(n);
            if is_check_in {
                return CheckIn { registration_id }.into();
            }
            let reason = CancelReason::UserDeactivated;
            RegistrationCommand::from(CancelRegistration {
                registration_id,
                reason,
            })
        });
        let cancelled = FollowEvent {
            event_sequence: 99,
            status: EventStatus::Cancelled,
            terms: None,
        };
        let pieces = std::iter::repeat_n(ContinueClosing {}.into(), pieces);
        let bodies = before.chain([cancelled.into()]).chain(pieces);
        bodies.map(|body| command(event(0), SELF, morning(), body)).collect()
    })
}

/// Random commands. Most runs open rosters first, because otherwise most commands would be deferred.
pub(crate) fn any_commands(latest: u32) -> impl Strategy<Value = Vec<Command<RegistrationCommand>>> {
    let opening = prop::collection::vec((0..EVENTS, any_terms()), 0..3).prop_map(|rosters| {
        let published = |terms| FollowEvent {
            event_sequence: 1,
            status: EventStatus::Published,
            terms: Some(terms),
        };
        rosters
            .into_iter()
            .map(|(n, terms)| command(event(n), SELF, morning(), published(terms)))
            .collect::<Vec<_>>()
    });
    (opening, prop::collection::vec(any_command(latest), 0..60))
        .prop_map(|(opening, rest)| opening.into_iter().chain(rest).collect())
}

/// All users register for the event.
pub(crate) fn any_crowd() -> impl Strategy<Value = Vec<Command<RegistrationCommand>>> {
    any_terms().prop_map(|terms| {
        let published = FollowEvent {
            event_sequence: 1,
            status: EventStatus::Published,
            terms: Some(Terms {
                registration_opens_at: None,
                ..terms
            }),
        };
        let registering = (0..USERS).map(|n| {
            Register {
                registration_id: registration(n),
                user_id: user(n),
            }
            .into()
        });
        let bodies = [published.into()].into_iter().chain(registering);
        bodies
            .map(|body: RegistrationCommand| command(event(0), SELF, morning(), body))
            .collect()
    })
}
