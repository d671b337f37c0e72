//! Given these domain events, when this command, then these domain events, or this no.

use std::time::Duration;

use contracts::{
    Actor, Aggregate, CancelReason, CancelRegistration, Command, ContinueClosing, EventStatus, FollowEvent, Refusal,
    Register, RegistrationCancelled, RegistrationCommand, RegistrationEvent, RosterChanged, RosterCloseReason,
    RosterClosed, RosterOpened, SeatConfirmed, SeatPromoted, SeatWaitlisted, Terms, Timestamp,
};
use registration::domain::{MAX_DOMAIN_EVENTS, Rejection, Roster, SELF, Seating, Wanted, must_go_on};
use uuid::Uuid;

const EVENT: Uuid = Uuid::from_u128(1);
const OTHER_EVENT: Uuid = Uuid::from_u128(2);
const ORGANIZER: Uuid = Uuid::from_u128(3);
const ADA: Uuid = Uuid::from_u128(11);
const BOB: Uuid = Uuid::from_u128(12);
const EVE: Uuid = Uuid::from_u128(13);

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    Timestamp::parse("2026-03-01T12:00:00Z").expect("a valid time")
}

fn seats(capacity: i32) -> Terms {
    Terms {
        organizer_id: ORGANIZER,
        capacity,
        waiting_list: true,
        registration_closes_at: now() + 23 * HOUR,
        starts_at: now() + 24 * HOUR,
        ends_at: now() + 27 * HOUR,
    }
}

fn without_waiting_list(capacity: i32) -> Terms {
    Terms {
        waiting_list: false,
        ..seats(capacity)
    }
}

// What happened.

fn opened(event_sequence: i64, terms: Terms) -> RegistrationEvent {
    let Terms {
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
    } = terms;
    RosterOpened {
        event_sequence,
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
    }
    .into()
}

fn changed(event_sequence: i64, terms: Terms) -> RegistrationEvent {
    let Terms {
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
    } = terms;
    RosterChanged {
        event_sequence,
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
    }
    .into()
}

fn closed(event_sequence: i64, reason: RosterCloseReason) -> RegistrationEvent {
    RosterClosed { event_sequence, reason }.into()
}

/// The registration of a user, for short.
fn of(user: Uuid) -> Uuid {
    Uuid::from_u128(user.as_u128() + 1_000_000)
}

fn confirmed(user_id: Uuid) -> RegistrationEvent {
    SeatConfirmed {
        registration_id: of(user_id),
        user_id,
    }
    .into()
}

fn waitlisted(user_id: Uuid) -> RegistrationEvent {
    SeatWaitlisted {
        registration_id: of(user_id),
        user_id,
    }
    .into()
}

fn promoted(user_id: Uuid) -> RegistrationEvent {
    SeatPromoted {
        registration_id: of(user_id),
        user_id,
    }
    .into()
}

fn cancelled(user_id: Uuid, reason: CancelReason, had_seat: bool) -> RegistrationEvent {
    RegistrationCancelled {
        registration_id: of(user_id),
        user_id,
        reason,
        had_seat,
    }
    .into()
}

// What is asked.

fn publish(event_sequence: i64, terms: Terms) -> FollowEvent {
    FollowEvent {
        event_sequence,
        status: EventStatus::Published,
        terms: Some(terms),
    }
}

fn follow(event_sequence: i64, status: EventStatus) -> FollowEvent {
    FollowEvent {
        event_sequence,
        status,
        terms: None,
    }
}

fn register(user_id: Uuid) -> Register {
    Register {
        registration_id: of(user_id),
        user_id,
    }
}

fn cancel(user_id: Uuid) -> CancelRegistration {
    CancelRegistration {
        registration_id: of(user_id),
        reason: CancelReason::ByAttendee,
    }
}

struct Given {
    roster: Roster,
    seating: Seating,
}

fn given(events: impl IntoIterator<Item = RegistrationEvent>) -> Given {
    let mut given = Given {
        roster: Roster::default(),
        seating: Seating::default(),
    };
    given.and(events);
    given
}

impl Given {
    fn and(&mut self, events: impl IntoIterator<Item = RegistrationEvent>) {
        for event in events {
            self.roster.evolve(&mut self.seating, EVENT, &event);
        }
    }

    fn when(&self, actor: Actor, body: impl Into<RegistrationCommand>) -> Result<Vec<RegistrationEvent>, Rejection> {
        self.when_at(now(), Some(actor), body)
    }

    fn when_at(
        &self,
        time: Timestamp,
        actor: Option<Actor>,
        body: impl Into<RegistrationCommand>,
    ) -> Result<Vec<RegistrationEvent>, Rejection> {
        self.decide(EVENT, time, actor, body)
    }

    fn decide(
        &self,
        key: Uuid,
        time: Timestamp,
        actor: Option<Actor>,
        body: impl Into<RegistrationCommand>,
    ) -> Result<Vec<RegistrationEvent>, Rejection> {
        let command = Command {
            id: Uuid::from_u128(99),
            key,
            actor,
            time,
            expected_version: None,
            last_attempt: false,
            body: body.into(),
        };
        self.roster.decide(&self.seating, &command)
    }
}

// Following the event

#[test]
fn a_published_event_opens_its_roster() {
    assert_eq!(
        given([]).when(SELF, publish(2, seats(1))),
        Ok(vec![opened(2, seats(1))])
    );
}

#[test]
fn an_older_or_equal_command_is_superseded() {
    let roster = given([opened(3, seats(2))]);
    for event_sequence in [1, 2, 3] {
        assert_eq!(roster.when(SELF, publish(event_sequence, seats(9))), Ok(vec![]));
        assert_eq!(
            roster.when(SELF, follow(event_sequence, EventStatus::Cancelled)),
            Ok(vec![])
        );
    }
}

#[test]
fn the_same_terms_again_still_raise_the_sequence() {
    let mut roster = given([opened(2, seats(1))]);
    assert_eq!(roster.when(SELF, publish(4, seats(1))), Ok(vec![changed(4, seats(1))]));

    roster.and([changed(4, seats(1))]);
    assert_eq!(roster.when(SELF, publish(3, seats(9))), Ok(vec![]));
}

#[test]
fn more_seats_go_to_those_who_wait() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB), waitlisted(EVE)]);
    assert_eq!(
        roster.when(SELF, publish(3, seats(2))),
        Ok(vec![changed(3, seats(2)), promoted(BOB)])
    );
    assert_eq!(
        roster.when(SELF, publish(3, seats(9))),
        Ok(vec![changed(3, seats(9)), promoted(BOB), promoted(EVE)])
    );
}

#[test]
fn more_seats_go_to_nobody_once_the_event_has_started() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB)]);
    let terms = seats(2);
    let result = roster.when_at(terms.starts_at, Some(SELF), publish(3, terms.clone()));
    assert_eq!(result, Ok(vec![changed(3, terms)]));
}

#[test]
fn fewer_seats_evict_nobody() {
    let mut roster = given([opened(2, seats(3)), confirmed(ADA), confirmed(BOB), confirmed(EVE)]);
    assert_eq!(roster.when(SELF, publish(3, seats(1))), Ok(vec![changed(3, seats(1))]));

    roster.and([changed(3, seats(1))]);
    let other = Uuid::from_u128(14);
    assert_eq!(
        roster.when(Actor::User(other), register(other)),
        Ok(vec![waitlisted(other)])
    );
    roster.and([waitlisted(other)]);
    // Three seats are taken where one is left: two must come free before anybody is promoted.
    for user in [ADA, BOB] {
        let event = cancelled(user, CancelReason::ByAttendee, true);
        assert_eq!(roster.when(Actor::User(user), cancel(user)), Ok(vec![event.clone()]));
        roster.and([event]);
    }
    assert_eq!(
        roster.when(Actor::User(EVE), cancel(EVE)),
        Ok(vec![cancelled(EVE, CancelReason::ByAttendee, true), promoted(other)])
    );
}

#[test]
fn those_who_wait_stay_when_the_waiting_list_is_closed() {
    let mut roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB)]);
    roster.and([changed(3, without_waiting_list(1))]);
    assert_eq!(roster.when(Actor::User(EVE), register(EVE)), Err(Rejection::EventFull));
    assert_eq!(
        roster.when(Actor::User(ADA), cancel(ADA)),
        Ok(vec![cancelled(ADA, CancelReason::ByAttendee, true), promoted(BOB)])
    );
}

#[test]
fn a_cancelled_event_ends_every_registration() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB)]);
    assert_eq!(
        roster.when(SELF, follow(3, EventStatus::Cancelled)),
        Ok(vec![
            closed(3, RosterCloseReason::Cancelled),
            cancelled(ADA, CancelReason::EventCancelled, true),
            cancelled(BOB, CancelReason::EventCancelled, false),
        ])
    );
}

#[test]
fn an_event_that_is_over_keeps_its_registrations() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB)]);
    let closed = closed(3, RosterCloseReason::Ended);
    assert_eq!(roster.when(SELF, follow(3, EventStatus::Ended)), Ok(vec![closed]));
}

#[test]
fn a_closed_roster_stays_closed() {
    for reason in [RosterCloseReason::Cancelled, RosterCloseReason::Ended] {
        let roster = given([opened(2, seats(1)), closed(3, reason)]);
        for follow in [
            publish(4, seats(9)),
            follow(4, EventStatus::Cancelled),
            follow(4, EventStatus::Ended),
        ] {
            assert_eq!(roster.when(SELF, follow), Ok(vec![]));
        }
    }
}

#[test]
fn a_cancellation_may_come_before_the_event_was_heard_of() {
    let mut roster = given([]);
    let closed = closed(3, RosterCloseReason::Cancelled);
    assert_eq!(
        roster.when(SELF, follow(3, EventStatus::Cancelled)),
        Ok(vec![closed.clone()])
    );

    roster.and([closed]);
    assert_eq!(roster.when(SELF, publish(2, seats(1))), Ok(vec![]));
    assert_eq!(
        roster.when(Actor::User(ADA), register(ADA)),
        Err(Rejection::EventCancelled)
    );
}

#[test]
fn what_can_not_be_understood_is_refused() {
    let roster = given([opened(2, seats(1))]);
    assert_eq!(
        roster.when(SELF, follow(3, EventStatus::Unknown)),
        Err(Rejection::Unsupported)
    );
    assert_eq!(
        roster.when(SELF, follow(3, EventStatus::Published)),
        Err(Rejection::Unsupported)
    );
}

#[test]
fn only_the_service_itself_follows_and_goes_on() {
    let roster = given([opened(2, seats(1))]);
    for actor in [Some(Actor::User(ORGANIZER)), Some(Actor::service("gateway")), None] {
        assert_eq!(
            roster.when_at(now(), actor.clone(), publish(3, seats(2))),
            Err(Rejection::Forbidden)
        );
        assert_eq!(
            roster.when_at(now(), actor, ContinueClosing {}),
            Err(Rejection::Forbidden)
        );
    }
}

// Registering

#[test]
fn whoever_comes_first_has_a_seat_and_the_next_one_waits() {
    let mut roster = given([opened(2, seats(1))]);
    assert_eq!(roster.when(Actor::User(ADA), register(ADA)), Ok(vec![confirmed(ADA)]));
    roster.and([confirmed(ADA)]);
    assert_eq!(roster.when(Actor::User(BOB), register(BOB)), Ok(vec![waitlisted(BOB)]));
}

#[test]
fn without_a_waiting_list_a_full_event_is_full() {
    let roster = given([opened(2, without_waiting_list(1)), confirmed(ADA)]);
    assert_eq!(roster.when(Actor::User(BOB), register(BOB)), Err(Rejection::EventFull));
}

#[test]
fn an_event_that_was_not_heard_of_is_waited_for() {
    let rejection = given([])
        .when(Actor::User(ADA), register(ADA))
        .expect_err("no roster yet");
    assert_eq!(rejection, Rejection::EventUnknown);
    match Refusal::from(rejection) {
        Refusal::Defer(then) => assert_eq!(then.code, "event-unknown"),
        Refusal::Reject(rejected) => panic!("rejected at once: {rejected:?}"),
    }
}

#[test]
fn registration_closes_and_events_start() {
    let roster = given([opened(2, seats(1))]);
    let at = |time| roster.when_at(time, Some(Actor::User(ADA)), register(ADA));
    assert_eq!(
        at(now() + 23 * HOUR - Duration::from_micros(1)),
        Ok(vec![confirmed(ADA)])
    );
    assert_eq!(at(now() + 23 * HOUR), Err(Rejection::RegistrationClosed));
    assert_eq!(at(now() + 24 * HOUR), Err(Rejection::EventStarted));
}

#[test]
fn nobody_registers_for_what_is_cancelled_or_over() {
    let cases = [
        (RosterCloseReason::Cancelled, Rejection::EventCancelled),
        (RosterCloseReason::Ended, Rejection::EventEnded),
        (RosterCloseReason::Unknown, Rejection::EventEnded),
    ];
    for (reason, rejection) in cases {
        let roster = given([opened(2, seats(1)), closed(3, reason)]);
        assert_eq!(roster.when(Actor::User(ADA), register(ADA)), Err(rejection));
    }
}

#[test]
fn one_person_registers_once() {
    let again = Register {
        registration_id: Uuid::from_u128(77),
        user_id: ADA,
    };
    for first in [confirmed(ADA), waitlisted(ADA)] {
        let mut roster = given([opened(2, seats(9)), first.clone()]);
        assert_eq!(
            roster.when(Actor::User(ADA), again.clone()),
            Err(Rejection::AlreadyRegistered)
        );

        let had_seat = first == confirmed(ADA);
        roster.and([cancelled(ADA, CancelReason::ByAttendee, had_seat)]);
        let anew = SeatConfirmed {
            registration_id: again.registration_id,
            user_id: ADA,
        };
        assert_eq!(roster.when(Actor::User(ADA), again.clone()), Ok(vec![anew.into()]));
    }
}

#[test]
fn a_registration_id_is_used_once() {
    let taken_by_ada = Register {
        registration_id: of(ADA),
        user_id: BOB,
    };
    let mut roster = given([opened(2, seats(9)), confirmed(ADA)]);
    assert_eq!(
        roster.when(Actor::User(BOB), taken_by_ada.clone()),
        Err(Rejection::AlreadyExists)
    );
    roster.and([cancelled(ADA, CancelReason::ByAttendee, true)]);
    assert_eq!(
        roster.when(Actor::User(BOB), taken_by_ada),
        Err(Rejection::AlreadyExists)
    );
}

#[test]
fn a_closed_account_gets_no_seat() {
    let mut roster = given([opened(2, seats(1))]);
    roster.seating.add_deactivated(ADA);
    assert_eq!(
        roster.when(Actor::User(ADA), register(ADA)),
        Err(Rejection::UserDeactivated)
    );
    assert_eq!(roster.when(Actor::User(BOB), register(BOB)), Ok(vec![confirmed(BOB)]));
}

#[test]
fn people_register_themselves() {
    let roster = given([opened(2, seats(1))]);
    for actor in [Some(Actor::User(BOB)), Some(Actor::User(ORGANIZER)), None] {
        assert_eq!(roster.when_at(now(), actor, register(ADA)), Err(Rejection::Forbidden));
    }
    assert_eq!(
        roster.when(Actor::service("gateway"), register(ADA)),
        Ok(vec![confirmed(ADA)])
    );
}

// Cancelling

#[test]
fn a_freed_seat_goes_to_the_first_in_line() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB), waitlisted(EVE)]);
    assert_eq!(
        roster.when(Actor::User(ADA), cancel(ADA)),
        Ok(vec![cancelled(ADA, CancelReason::ByAttendee, true), promoted(BOB)])
    );
}

#[test]
fn two_freed_seats_go_to_two_people() {
    let mut roster = given([opened(2, seats(2)), confirmed(ADA), confirmed(BOB), waitlisted(EVE)]);
    let last = Uuid::from_u128(14);
    roster.and([waitlisted(last)]);
    for (leaving, next) in [(ADA, EVE), (BOB, last)] {
        let events = vec![cancelled(leaving, CancelReason::ByAttendee, true), promoted(next)];
        assert_eq!(roster.when(Actor::User(leaving), cancel(leaving)), Ok(events.clone()));
        roster.and(events);
    }
}

#[test]
fn who_stops_waiting_frees_no_seat() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB), waitlisted(EVE)]);
    assert_eq!(
        roster.when(Actor::User(BOB), cancel(BOB)),
        Ok(vec![cancelled(BOB, CancelReason::ByAttendee, false)])
    );
}

#[test]
fn a_seat_freed_after_registration_closed_is_still_given() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB)]);
    let seat_freed = cancelled(ADA, CancelReason::ByAttendee, true);
    let at = |time| roster.when_at(time, Some(Actor::User(ADA)), cancel(ADA));
    assert_eq!(at(now() + 23 * HOUR), Ok(vec![seat_freed.clone(), promoted(BOB)]));
    assert_eq!(at(now() + 24 * HOUR), Ok(vec![seat_freed]));
}

#[test]
fn the_reason_says_who_cancelled() {
    let roster = given([opened(2, seats(1)), confirmed(ADA)]);
    let by = |actor, reason| {
        roster.when(
            actor,
            CancelRegistration {
                registration_id: of(ADA),
                reason,
            },
        )
    };
    let cases = [
        (Actor::User(ADA), CancelReason::EventCancelled, CancelReason::ByAttendee),
        (
            Actor::User(ORGANIZER),
            CancelReason::ByAttendee,
            CancelReason::ByOrganizer,
        ),
        (SELF, CancelReason::UserDeactivated, CancelReason::UserDeactivated),
    ];
    for (actor, asked, recorded) in cases {
        assert_eq!(by(actor, asked), Ok(vec![cancelled(ADA, recorded, true)]));
    }
}

#[test]
fn nobody_else_learns_that_there_is_a_registration() {
    let active = given([opened(2, seats(1)), confirmed(ADA)]);
    let ended = given([
        opened(2, seats(1)),
        confirmed(ADA),
        cancelled(ADA, CancelReason::ByAttendee, true),
    ]);
    for actor in [Some(Actor::User(BOB)), None] {
        assert_eq!(
            active.when_at(now(), actor.clone(), cancel(ADA)),
            Err(Rejection::RegistrationUnknown)
        );
        assert_eq!(
            ended.when_at(now(), actor, cancel(ADA)),
            Err(Rejection::RegistrationUnknown)
        );
    }
}

#[test]
fn a_registration_that_was_not_heard_of_is_waited_for() {
    let of_another_event = given([opened(2, seats(1)), confirmed(ADA)]);
    let unheard = [
        given([]).when(Actor::User(ADA), cancel(ADA)),
        given([opened(2, seats(1))]).when(Actor::User(ADA), cancel(ADA)),
        of_another_event.decide(OTHER_EVENT, now(), Some(Actor::User(ADA)), cancel(ADA)),
    ];
    for result in unheard {
        let rejection = result.expect_err("no registration yet");
        match Refusal::from(rejection) {
            Refusal::Defer(then) => assert_eq!(then.code, "registration-unknown"),
            Refusal::Reject(rejected) => panic!("rejected at once: {rejected:?}"),
        }
    }
}

#[test]
fn to_cancel_twice_changes_nothing() {
    let roster = given([
        opened(2, seats(1)),
        confirmed(ADA),
        cancelled(ADA, CancelReason::ByAttendee, true),
    ]);
    assert_eq!(roster.when(Actor::User(ADA), cancel(ADA)), Ok(vec![]));
}

#[test]
fn after_the_end_only_closed_accounts_leave() {
    let roster = given([
        opened(2, seats(1)),
        confirmed(ADA),
        waitlisted(BOB),
        closed(3, RosterCloseReason::Ended),
    ]);
    for user in [ADA, ORGANIZER] {
        assert_eq!(roster.when(Actor::User(user), cancel(ADA)), Err(Rejection::EventEnded));
    }
    let by_service = CancelRegistration {
        registration_id: of(ADA),
        reason: CancelReason::UserDeactivated,
    };
    assert_eq!(
        roster.when(SELF, by_service),
        Ok(vec![cancelled(ADA, CancelReason::UserDeactivated, true)])
    );
}

#[test]
fn who_leaves_a_cancelled_event_was_cancelled_with_it() {
    let roster = given([
        opened(2, seats(1)),
        confirmed(ADA),
        waitlisted(BOB),
        closed(3, RosterCloseReason::Cancelled),
    ]);
    assert_eq!(
        roster.when(Actor::User(ADA), cancel(ADA)),
        Ok(vec![cancelled(ADA, CancelReason::EventCancelled, true)])
    );
}

// Much at once

fn people(count: u128) -> impl Iterator<Item = Uuid> {
    (0..count).map(|n| Uuid::from_u128(1_000 + n))
}

/// Gives the command, then goes on as long as it must; answers how many domain events came of each.
fn run_to_the_end(given: &mut Given, first: FollowEvent) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut command = RegistrationCommand::from(first);
    loop {
        let events = given.when(SELF, command.clone()).expect("accepted");
        counts.push(events.len());
        given.and(events);
        if !must_go_on(&command, counts[counts.len() - 1]) {
            return counts;
        }
        command = ContinueClosing {}.into();
    }
}

#[test]
fn a_big_roster_is_closed_in_pieces() {
    let mut roster = given([opened(2, seats(2_000))]);
    roster.and(people(2_000).map(confirmed));
    roster.and(people(2_500).skip(2_000).map(waitlisted));

    let counts = run_to_the_end(&mut roster, follow(3, EventStatus::Cancelled));

    assert_eq!(counts, [MAX_DOMAIN_EVENTS, MAX_DOMAIN_EVENTS, 501]);
    assert_eq!((roster.roster.taken, roster.roster.waiting), (0, 0));
    assert_eq!(roster.when(SELF, ContinueClosing {}), Ok(vec![]));
}

#[test]
fn many_more_seats_are_given_in_pieces() {
    let mut roster = given([opened(2, seats(1))]);
    roster.and(people(1).map(confirmed));
    roster.and(people(2_501).skip(1).map(waitlisted));

    let counts = run_to_the_end(&mut roster, publish(3, seats(2_201)));

    assert_eq!(counts, [MAX_DOMAIN_EVENTS, MAX_DOMAIN_EVENTS, 201]);
    assert_eq!((roster.roster.taken, roster.roster.waiting), (2_201, 300));
    assert_eq!(roster.when(SELF, ContinueClosing {}), Ok(vec![]));
}

#[test]
fn nobody_overtakes_while_seats_are_given_in_pieces() {
    let mut roster = given([opened(2, seats(0))]);
    roster.and(people(1_500).map(waitlisted));
    let first_piece = roster.when(SELF, publish(3, seats(1_500))).expect("accepted");
    assert!(must_go_on(&publish(3, seats(1_500)).into(), first_piece.len()));
    roster.and(first_piece);
    assert_eq!(roster.when(Actor::User(ADA), register(ADA)), Ok(vec![waitlisted(ADA)]));
}

// What a store has to look up

#[test]
fn a_batch_says_what_it_wants() {
    let batch: Vec<RegistrationCommand> = vec![
        register(BOB).into(),
        register(ADA).into(),
        cancel(EVE).into(),
        publish(2, seats(1)).into(),
        follow(3, EventStatus::Cancelled).into(),
        ContinueClosing {}.into(),
    ];
    let wanted = Wanted::by(batch.iter().map(|command| (EVENT, command)));
    let expected = Wanted {
        registrations: [of(ADA), of(BOB), of(EVE)].into(),
        attendances: [(EVENT, ADA), (EVENT, BOB)].into(),
        users: [ADA, BOB].into(),
        waiting: [(EVENT, 1 + 999 + 1_000)].into(),
        active: [(EVENT, 1 + 999 + 1_000)].into(),
    };
    assert_eq!(wanted, expected);
}

#[test]
fn only_what_stopped_at_the_limit_goes_on() {
    let all = [
        follow(3, EventStatus::Cancelled).into(),
        ContinueClosing {}.into(),
        cancel(ADA).into(),
    ];
    let go_on = |count| all.each_ref().map(|command| must_go_on(command, count));
    assert_eq!(go_on(MAX_DOMAIN_EVENTS), [true, true, false]);
    assert_eq!(go_on(MAX_DOMAIN_EVENTS - 1), [false, false, false]);
}

#[test]
fn who_only_leaves_wants_no_list_of_all() {
    let batch: Vec<RegistrationCommand> = vec![cancel(ADA).into(), cancel(BOB).into()];
    let wanted = Wanted::by(batch.iter().map(|command| (EVENT, command)));
    assert_eq!(wanted.waiting, [(EVENT, 2)].into());
    assert_eq!(wanted.active, [].into());
}
