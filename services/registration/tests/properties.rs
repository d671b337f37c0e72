//! What holds after any commands in any order, in batches of any size.

#[path = "support/commands.rs"]
mod commands;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use contracts::{Aggregate, CancelReason, Command, ContinueClosing, RegistrationCommand, RegistrationEvent, Timestamp};
use proptest::prelude::*;
use registration::domain::{Phase, Place, Registration, Rejection, Roster, SELF, Seating, Wanted};
use uuid::Uuid;

use commands::{REGISTRATIONS, USERS, any_commands, any_crowd, any_ending, command, user};

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
        Self {
            limit,
            deactivated: [user(USERS - 1)].into(),
            ..Self::default()
        }
    }

    fn line(&self, event: Uuid, is_in: impl Fn(Place) -> bool) -> impl Iterator<Item = &Registration> {
        let mut line: Vec<_> = self
            .rows
            .values()
            .filter(|row| row.event_id == event && is_in(row.place))
            .collect();
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
            self.active(event)
                .filter(|row| row.user_id == user)
                .for_each(|row| seating.add(*row));
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
        let before = self.rows.clone();
        for (event_id, position, event) in recorded {
            self.write(event_id, position, &event);
        }
        // The context yields exactly the rows that differ, and with the same content.
        let is_new = |row: &&Registration| !before.contains_key(&row.id);
        let is_changed = |row: &&Registration| before.get(&row.id).is_some_and(|before| before != *row);
        assert!(seating.created().eq(self.rows.values().filter(is_new)));
        assert!(
            seating
                .updated()
                .filter(is_changed)
                .eq(self.rows.values().filter(is_changed))
        );
        assert!(seating.updated().all(|row| before.contains_key(&row.id)));
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
            E::AttendeeCheckedIn(it) => (it.registration_id, it.user_id, Place::CheckedIn),
            E::RegistrationCancelled(it) => (it.registration_id, it.user_id, Place::Cancelled),
        };
        let before = self.rows.get(&id).copied();
        match event {
            E::SeatConfirmed(_) | E::SeatWaitlisted(_) => {
                assert_eq!(before, None, "a registration begins once");
                assert!(
                    self.active(event_id).all(|row| row.user_id != user_id),
                    "one registration a person"
                );
            }
            E::SeatPromoted(_) => {
                let first = self.waiting(event_id).next().copied();
                assert_eq!(before, first, "the first in line is promoted");
                assert!(before.is_some());
            }
            E::AttendeeCheckedIn(_) => {
                assert_eq!(
                    before.map(|row| row.place),
                    Some(Place::Seat),
                    "who comes has a seat, once"
                );
            }
            E::RegistrationCancelled(cancelled) => {
                let place = before.expect("who leaves was there").place;
                assert_ne!(place, Place::Cancelled, "a registration ends once");
                assert_eq!(place.has_seat(), cancelled.had_seat, "who had a seat");
                assert!(
                    place != Place::CheckedIn
                        || matches!(
                            cancelled.reason,
                            CancelReason::ByOrganizer | CancelReason::EventCancelled
                        ),
                    "who was here stays"
                );
            }
            E::RosterOpened(_) | E::RosterChanged(_) | E::RosterClosed(_) => {}
        }
        let row = before.unwrap_or(Registration {
            id,
            event_id,
            user_id,
            place,
            position,
        });
        assert_eq!(
            (row.event_id, row.user_id),
            (event_id, user_id),
            "a registration keeps its person and event"
        );
        self.rows.insert(id, Registration { place, ..row });
    }

    fn roster(&self, event: Uuid) -> Roster {
        self.rosters.get(&event).cloned().unwrap_or_default()
    }

    /// Sends what a service sends to itself after a command that stopped at the limit, until none does.
    fn go_on_to_the_end(&mut self, event: Uuid, time: Timestamp, mut led_to: usize) {
        let mut rounds = 0;
        while led_to >= self.limit {
            let decision = self
                .decide_batch(&[command(event, SELF, time, ContinueClosing {})])
                .remove(0);
            led_to = decision.expect("it may always go on").len();
            rounds += 1;
            assert!(rounds <= REGISTRATIONS, "it ends");
        }
    }
}

/// Checks the rules after one command, given what was before it.
fn check(database: &Database, before: &Roster, command: &Command<RegistrationCommand>, decision: &Decision) {
    let roster = database.roster(command.key);
    assert!(
        decision.as_ref().map_or(0, Vec::len) <= database.limit,
        "one command does not do it all"
    );
    if decision.is_err() {
        assert_eq!(&roster, before, "a no changes nothing");
    }
    if roster.taken > before.taken {
        let capacity = roster.terms.as_ref().map_or(0, |terms| terms.capacity);
        assert!(
            roster.taken <= i64::from(capacity),
            "no seat is given that is not there"
        );
    }
    for event in decision.iter().flatten() {
        if let RegistrationEvent::AttendeeCheckedIn(checked_in) = event {
            let terms = before.terms.as_ref().expect("there are seats");
            let open = terms.starts_at - Duration::from_secs(2 * 3600)..terms.ends_at;
            assert!(open.contains(&checked_in.checked_in_at), "check-in is open");
        }
    }
    let seats = database.line(command.key, Place::has_seat).count();
    assert_eq!(roster.taken, i64::try_from(seats).expect("few"), "seats are counted");
    let waiting = database.waiting(command.key).count();
    assert_eq!(
        roster.waiting,
        i64::try_from(waiting).expect("few"),
        "those who wait are counted"
    );
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
    fn a_batch_that_ends_an_event_equals_one_by_one(limit in 2..6_usize, crowd in any_crowd(), ending in any_ending()) {
        let mut one_by_one = Database::new(limit);
        one_by_one.decide_batch(&crowd);
        let mut batched = one_by_one.clone();
        let singles: Vec<_> =
            ending.iter().flat_map(|command| one_by_one.decide_batch(std::slice::from_ref(command))).collect();
        prop_assert_eq!(batched.decide_batch(&ending), singles);
        prop_assert_eq!(batched, one_by_one);
    }

    #[test]
    fn what_takes_many_commands_gets_done(limit in 2..6_usize, commands in any_commands(1)) {
        // Before anything starts, so that every seat is given.
        let mut database = Database::new(limit);
        for command in &commands {
            let decision = database.decide_batch(std::slice::from_ref(command)).remove(0);
            // A single person who leaves never needs more, even if two domain events are the limit.
            if !matches!(command.body, RegistrationCommand::CancelRegistration(_)) {
                database.go_on_to_the_end(command.key, command.time, decision.map_or(0, |events| events.len()));
            }
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
