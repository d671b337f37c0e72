//! What holds after any commands in any order, in batches of any size.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use contracts::{
    Actor, Aggregate, CancelReason, CancelRegistration, Command, ContinueClosing, EventStatus, FollowEvent, Register,
    RegistrationCommand, RegistrationEvent, Terms, Timestamp,
};
use proptest::prelude::*;
use registration::domain::{Phase, Place, Registration, Rejection, Roster, SELF, Seating, Wanted};
use uuid::Uuid;

const EVENTS: u128 = 2;
const USERS: u128 = 7;
const REGISTRATIONS: u128 = 14;

const HOUR: Duration = Duration::from_secs(3600);

type Decision = Result<Vec<RegistrationEvent>, Rejection>;

/// What a store holds, in the simplest form: rows that follow from the domain events, and the rosters' states.
#[derive(Debug, Default, Clone, PartialEq)]
struct Database {
    limit: usize,
    rosters: HashMap<Uuid, Roster>,
    rows: BTreeMap<Uuid, Registration>,
    deactivated: HashSet<Uuid>,
}

impl Database {
    fn new(limit: usize) -> Self {
        Self { limit, deactivated: [user(USERS - 1)].into(), ..Self::default() }
    }

    fn line(&self, event: Uuid, is_in: impl Fn(Place) -> bool) -> impl Iterator<Item = &Registration> {
        let mut line: Vec<_> = self.rows.values().filter(|row| row.event_id == event && is_in(row.place)).collect();
        line.sort_by_key(|row| row.position);
        line.into_iter()
    }

    fn waiting(&self, event: Uuid) -> impl Iterator<Item = &Registration> {
        self.line(event, |place| place == Place::Waiting)
    }

    fn active(&self, event: Uuid) -> impl Iterator<Item = &Registration> {
        self.line(event, |place| place != Place::Cancelled)
    }

    /// No more than what is wanted, as a query would find it.
    fn seating(&self, batch: &[Command<RegistrationCommand>]) -> Seating {
        let wanted = Wanted::with_limit(self.limit, batch.iter().map(|command| (command.key, &command.body)));
        let mut seating = Seating::with_limit(self.limit);
        for row in wanted.registrations.iter().filter_map(|id| self.rows.get(id)) {
            seating.add(*row);
        }
        for (event, user) in wanted.attendances {
            self.active(event).filter(|row| row.user_id == user).for_each(|row| seating.add(*row));
        }
        for (event, count) in wanted.waiting {
            self.waiting(event).take(count).for_each(|row| seating.add(*row));
        }
        for (event, count) in wanted.active {
            self.active(event).take(count).for_each(|row| seating.add(*row));
        }
        for user in wanted.users.intersection(&self.deactivated.iter().copied().collect()) {
            seating.add_deactivated(*user);
        }
        seating
    }

    fn decide_batch(&mut self, batch: &[Command<RegistrationCommand>]) -> Vec<Decision> {
        let mut seating = self.seating(batch);
        let mut recorded = Vec::new();
        let mut decisions = Vec::new();
        for command in batch {
            let roster = self.rosters.entry(command.key).or_default();
            let decision = roster.decide(&seating, command);
            for event in decision.iter().flatten() {
                roster.evolve(&mut seating, command.key, event);
                recorded.push((command.key, roster.version, event.clone()));
            }
            decisions.push(decision);
        }
        for (event_id, position, event) in recorded {
            self.write(event_id, position, &event);
        }
        decisions
    }

    /// Rows from domain events, by themselves: nothing here asks the domain.
    fn write(&mut self, event_id: Uuid, position: i64, event: &RegistrationEvent) {
        use RegistrationEvent as E;
        let (id, user_id, place) = match event {
            E::RosterOpened(_) | E::RosterChanged(_) | E::RosterClosed(_) => return,
            E::SeatConfirmed(it) => (it.registration_id, it.user_id, Place::Seat),
            E::SeatWaitlisted(it) => (it.registration_id, it.user_id, Place::Waiting),
            E::SeatPromoted(it) => (it.registration_id, it.user_id, Place::Seat),
            E::RegistrationCancelled(it) => (it.registration_id, it.user_id, Place::Cancelled),
        };
        let before = self.rows.get(&id).copied();
        match event {
            E::SeatConfirmed(_) | E::SeatWaitlisted(_) => {
                assert_eq!(before, None, "a registration begins once");
                assert!(self.active(event_id).all(|row| row.user_id != user_id), "one registration a person");
            }
            E::SeatPromoted(_) => {
                let first = self.waiting(event_id).next().copied();
                assert_eq!(before, first, "the first in line is promoted");
                assert!(before.is_some());
            }
            E::RegistrationCancelled(cancelled) => {
                let had = if cancelled.had_seat { Place::Seat } else { Place::Waiting };
                assert_eq!(before.map(|row| row.place), Some(had), "who leaves was there");
            }
            E::RosterOpened(_) | E::RosterChanged(_) | E::RosterClosed(_) => {}
        }
        let row = before.unwrap_or(Registration { id, event_id, user_id, place, position });
        assert_eq!((row.event_id, row.user_id), (event_id, user_id), "a registration keeps its person and event");
        self.rows.insert(id, Registration { place, ..row });
    }

    fn roster(&self, event: Uuid) -> Roster {
        self.rosters.get(&event).cloned().unwrap_or_default()
    }

    /// Sends what a service sends to itself, until nothing is left to do.
    fn go_on_to_the_end(&mut self, time: Timestamp) {
        for event in (0..EVENTS).map(event) {
            let mut rounds = 0;
            while self.roster(event).must_go_on(time) {
                let before = self.roster(event);
                let decisions = self.decide_batch(&[command(event, SELF, time, ContinueClosing {})]);
                assert!(decisions[0].is_ok());
                assert_ne!(self.roster(event), before, "every round gets nearer to the end");
                rounds += 1;
                assert!(rounds <= REGISTRATIONS, "it ends");
            }
        }
    }
}

fn event(n: u128) -> Uuid {
    Uuid::from_u128(100 + n)
}

fn user(n: u128) -> Uuid {
    Uuid::from_u128(200 + n)
}

fn registration(n: u128) -> Uuid {
    Uuid::from_u128(300 + n)
}

fn organizer() -> Uuid {
    Uuid::from_u128(400)
}

fn morning() -> Timestamp {
    Timestamp::parse("2026-03-01T08:00:00Z").expect("a valid time")
}

fn command(
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
    ]
}

fn any_terms() -> impl Strategy<Value = Terms> {
    (0..6_i32, prop::bool::weighted(0.8), 2..6_u32).prop_map(|(capacity, waiting_list, starts_in)| Terms {
        organizer_id: organizer(),
        capacity,
        waiting_list,
        registration_closes_at: morning() + (starts_in - 1) * HOUR,
        starts_at: morning() + starts_in * HOUR,
        ends_at: morning() + 9 * HOUR,
    })
}

fn any_follow() -> impl Strategy<Value = FollowEvent> {
    let status = prop_oneof![12 => Just(EventStatus::Published), 1 => Just(EventStatus::Cancelled), 1 => Just(EventStatus::Ended)];
    (1..12_i64, status, any_terms()).prop_map(|(event_sequence, status, terms)| FollowEvent {
        event_sequence,
        status,
        terms: (status == EventStatus::Published).then_some(terms),
    })
}

fn any_command(latest: u32) -> impl Strategy<Value = Command<RegistrationCommand>> {
    let body = prop_oneof![
        3 => (Just(SELF), any_follow().prop_map(RegistrationCommand::from)).boxed(),
        10 => (any_actor(), 0..REGISTRATIONS, any_user())
            .prop_map(|(actor, id, user_id)| (actor, Register { registration_id: registration(id), user_id }.into()))
            .boxed(),
        6 => (any_actor(), 0..REGISTRATIONS)
            .prop_map(|(actor, id)| {
                let cancel = CancelRegistration { registration_id: registration(id), reason: CancelReason::ByOrganizer };
                (actor, cancel.into())
            })
            .boxed(),
        1 => Just((SELF, RegistrationCommand::from(ContinueClosing {}))).boxed(),
    ];
    (0..EVENTS, 0..=latest, body)
        .prop_map(|(n, hour, (actor, body))| command(event(n), actor, morning() + hour * HOUR, body))
}

/// Commands as they come: rosters are opened first in most runs, otherwise most commands would be deferred.
fn any_commands(latest: u32) -> impl Strategy<Value = Vec<Command<RegistrationCommand>>> {
    let opening = prop::collection::vec((0..EVENTS, any_terms()), 0..3);
    (opening, prop::collection::vec(any_command(latest), 0..60)).prop_map(|(opening, rest)| {
        let opening = opening.into_iter().map(|(n, terms)| {
            let follow = FollowEvent { event_sequence: 1, status: EventStatus::Published, terms: Some(terms) };
            command(event(n), SELF, morning(), follow)
        });
        opening.chain(rest).collect()
    })
}

/// Checks the rules after one command, given what was before it.
fn check(database: &Database, before: &Roster, command: &Command<RegistrationCommand>, decision: &Decision) {
    let roster = database.roster(command.key);
    assert!(decision.as_ref().map_or(0, Vec::len) <= database.limit, "one command does not do it all");
    if decision.is_err() {
        assert_eq!(&roster, before, "a no changes nothing");
    }
    if roster.taken > before.taken {
        let capacity = roster.terms.as_ref().map_or(0, |terms| terms.capacity);
        assert!(roster.taken <= i64::from(capacity), "no seat is given that is not there");
    }
    let seats = database.line(command.key, |place| place == Place::Seat).count();
    assert_eq!(roster.taken, i64::try_from(seats).expect("few"), "seats are counted");
    let waiting = database.waiting(command.key).count();
    assert_eq!(roster.waiting, i64::try_from(waiting).expect("few"), "those who wait are counted");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_hold_after_every_command(limit in 2..6_usize, commands in any_commands(6)) {
        let mut database = Database::new(limit);
        let mut registered = HashSet::new();
        for command in &commands {
            let before = database.roster(command.key);
            let decision = database.decide_batch(std::slice::from_ref(command)).remove(0);
            check(&database, &before, command, &decision);
            if let (RegistrationCommand::Register(register), Ok(_)) = (&command.body, &decision) {
                registered.insert(register.registration_id);
            }
        }
        let rows: HashSet<_> = database.rows.keys().copied().collect();
        prop_assert_eq!(rows, registered, "nobody is lost, nobody is made up");
        prop_assert!(database.rows.values().all(|row| row.user_id != user(USERS - 1)), "no seat for a closed account");
    }

    #[test]
    fn a_batch_equals_one_by_one(
        limit in 2..6_usize,
        commands in any_commands(6),
        sizes in prop::collection::vec(1..20_usize, 80),
    ) {
        let mut one_by_one = Database::new(limit);
        let mut batched = Database::new(limit);
        let mut rest = commands.as_slice();
        for size in sizes {
            let (batch, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            let singles: Vec<_> =
                batch.iter().flat_map(|command| one_by_one.decide_batch(std::slice::from_ref(command))).collect();
            prop_assert_eq!(batched.decide_batch(batch), singles);
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(batched, one_by_one);
    }

    #[test]
    fn what_takes_many_commands_gets_done(limit in 2..6_usize, commands in any_commands(1)) {
        // Before anything starts, so that every seat is given.
        let mut database = Database::new(limit);
        for command in &commands {
            database.decide_batch(std::slice::from_ref(command));
            database.go_on_to_the_end(command.time);
            let roster = database.roster(command.key);
            match roster.phase {
                Phase::Cancelled => prop_assert_eq!(database.active(command.key).count(), 0),
                Phase::Open => {
                    let capacity = roster.terms.as_ref().map_or(0, |terms| terms.capacity);
                    prop_assert!(roster.waiting == 0 || roster.taken >= i64::from(capacity), "a seat stays empty: {:?}", roster);
                }
                Phase::Unheard | Phase::Ended => {}
            }
        }
    }
}
