//! Rules that are true after any commands in any order, in batches of any size.

#[path = "support/commands.rs"]
mod commands;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use contracts::{Aggregate, CancelReason, Command, ContinueClosing, RegistrationCommand, RegistrationEvent, Timestamp};
use proptest::prelude::*;
use registration::domain::{Phase, Registration, RegistrationStatus, Rejection, RequiredRows, Roster, SELF, Seating};
use uuid::Uuid;

use commands::{REGISTRATIONS, USERS, any_commands, any_crowd, any_ending, command, user};

type Decision = Result<Vec<RegistrationEvent>, Rejection>;

/// The content of a store in its simplest form: rows that follow from the domain events, and the rosters' states.
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

    fn queue(&self, event: Uuid, is_in: impl Fn(RegistrationStatus) -> bool) -> impl Iterator<Item = &Registration> {
        let mut queue: Vec<_> = self
            .rows
            .values()
            .filter(|row| row.event_id == event && is_in(row.status))
            .collect();
        queue.sort_by_key(|row| row.position);
        queue.into_iter()
    }

    fn waiting(&self, event: Uuid) -> impl Iterator<Item = &Registration> {
        self.queue(event, |status| status == RegistrationStatus::Waitlisted)
    }

    fn active(&self, event: Uuid) -> impl Iterator<Item = &Registration> {
        self.queue(event, |status| status != RegistrationStatus::Cancelled)
    }

    /// Returns a seating with only the required rows, as a query would return them.
    fn seating(&self, batch: &[Command<RegistrationCommand>]) -> Seating {
        let required = RequiredRows::with_limit(self.limit, batch.iter().map(|command| (command.key, &command.body)));
        let mut seating = Seating::with_limit(self.limit);
        for row in required.registrations.iter().filter_map(|id| self.rows.get(id)) {
            seating.add(*row);
        }
        for (event, user) in required.attendances {
            self.active(event)
                .filter(|row| row.user_id == user)
                .for_each(|row| seating.add(*row));
        }
        for (event, count) in required.waiting {
            self.waiting(event).take(count).for_each(|row| seating.add(*row));
        }
        for (event, count) in required.active {
            self.active(event).take(count).for_each(|row| seating.add(*row));
        }
        for user in required.users.intersection(&self.deactivated.iter().copied().collect()) {
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

    /// Derives rows from domain events, independently of the domain.
    fn write(&mut self, event_id: Uuid, position: i64, event: &RegistrationEvent) {
        use RegistrationEvent as E;
        let (id, user_id, status) = match event {
            E::RosterOpened(_) | E::RosterChanged(_) | E::RosterClosed(_) => return,
            E::SeatConfirmed(it) => (it.registration_id, it.user_id, RegistrationStatus::Confirmed),
            E::SeatWaitlisted(it) => (it.registration_id, it.user_id, RegistrationStatus::Waitlisted),
            E::SeatPromoted(it) => (it.registration_id, it.user_id, RegistrationStatus::Confirmed),
            E::AttendeeCheckedIn(it) => (it.registration_id, it.user_id, RegistrationStatus::CheckedIn),
            E::RegistrationCancelled(it) => (it.registration_id, it.user_id, RegistrationStatus::Cancelled),
        };
        let before = self.rows.get(&id).copied();
        match event {
            E::SeatConfirmed(_) | E::SeatWaitlisted(_) => {
                assert_eq!(before, None, "a registration begins once");
                assert!(
                    self.active(event_id).all(|row| row.user_id != user_id),
                    "a user has one active registration for an event"
                );
            }
            E::SeatPromoted(_) => {
                let first = self.waiting(event_id).next().copied();
                assert_eq!(before, first, "the first in line is promoted");
                assert!(before.is_some());
            }
            E::AttendeeCheckedIn(_) => {
                assert_eq!(
                    before.map(|row| row.status),
                    Some(RegistrationStatus::Confirmed),
                    "only a confirmed registration is checked in"
                );
            }
            E::RegistrationCancelled(cancelled) => {
                let status = before.expect("a cancelled registration existed").status;
                assert_ne!(status, RegistrationStatus::Cancelled, "a registration ends once");
                assert_eq!(status.has_seat(), cancelled.had_seat, "had_seat is accurate");
                assert!(
                    status != RegistrationStatus::CheckedIn
                        || matches!(
                            cancelled.reason,
                            CancelReason::ByOrganizer | CancelReason::EventCancelled
                        ),
                    "a checked-in attendee keeps the registration"
                );
            }
            E::RosterOpened(_) | E::RosterChanged(_) | E::RosterClosed(_) => {}
        }
        let row = before.unwrap_or(Registration {
            id,
            event_id,
            user_id,
            status,
            position,
        });
        assert_eq!(
            (row.event_id, row.user_id),
            (event_id, user_id),
            "a registration keeps its user and event"
        );
        self.rows.insert(id, Registration { status, ..row });
    }

    fn roster(&self, event: Uuid) -> Roster {
        self.rosters.get(&event).cloned().unwrap_or_default()
    }

    /// Executes `ContinueClosing` as long as the last command stopped at the limit, as the service does.
    fn continue_to_the_end(&mut self, event: Uuid, time: Timestamp, mut led_to: usize) {
        let mut rounds = 0;
        while led_to >= self.limit {
            let decision = self
                .decide_batch(&[command(event, SELF, time, ContinueClosing {})])
                .remove(0);
            led_to = decision.expect("ContinueClosing is always accepted").len();
            rounds += 1;
            assert!(rounds <= REGISTRATIONS, "the work ends");
        }
    }
}

/// Checks the rules after one command, given the roster before it.
fn check(database: &Database, before: &Roster, command: &Command<RegistrationCommand>, decision: &Decision) {
    let roster = database.roster(command.key);
    assert!(
        decision.as_ref().map_or(0, Vec::len) <= database.limit,
        "one command stays within the limit"
    );
    if decision.is_err() {
        assert_eq!(&roster, before, "a rejection changes nothing");
    }
    if roster.taken > before.taken {
        let capacity = roster.terms.as_ref().map_or(0, |terms| terms.capacity);
        assert!(
            roster.taken <= i64::from(capacity),
            "no more seats are given than the capacity"
        );
    }
    for event in decision.iter().flatten() {
        if let RegistrationEvent::AttendeeCheckedIn(checked_in) = event {
            let terms = before.terms.as_ref().expect("an open roster has terms");
            let open = terms.starts_at - Duration::from_secs(2 * 3600)..terms.ends_at;
            assert!(open.contains(&checked_in.checked_in_at), "check-in is open");
        }
    }
    let seats = database.queue(command.key, RegistrationStatus::has_seat).count();
    assert_eq!(roster.taken, i64::try_from(seats).expect("few"), "seats are counted");
    let waiting = database.waiting(command.key).count();
    assert_eq!(
        roster.waiting,
        i64::try_from(waiting).expect("few"),
        "waiting registrations are counted"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_command_keeps_the_rules(limit in 2..6_usize, commands in any_commands(6)) {
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
        prop_assert_eq!(rows, registered, "each accepted registration has one row");
        prop_assert!(database.rows.values().all(|row| row.user_id != user(USERS - 1)), "no seat for a closed account");
    }

    #[test]
    fn a_batch_has_the_same_result_as_single_commands(
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
    fn a_batch_that_cancels_an_event_has_the_same_result_as_single_commands(limit in 2..6_usize, crowd in any_crowd(), ending in any_ending()) {
        let mut one_by_one = Database::new(limit);
        one_by_one.decide_batch(&crowd);
        let mut batched = one_by_one.clone();
        let singles: Vec<_> =
            ending.iter().flat_map(|command| one_by_one.decide_batch(std::slice::from_ref(command))).collect();
        prop_assert_eq!(batched.decide_batch(&ending), singles);
        prop_assert_eq!(batched, one_by_one);
    }

    #[test]
    fn work_that_takes_many_commands_is_completed(limit in 2..6_usize, commands in any_commands(1)) {
        // Before anything starts, so every seat is given.
        let mut database = Database::new(limit);
        for command in &commands {
            let decision = database.decide_batch(std::slice::from_ref(command)).remove(0);
            // One cancellation never continues, even if the limit is two domain events.
            if !matches!(command.body, RegistrationCommand::CancelRegistration(_)) {
                database.continue_to_the_end(command.key, command.time, decision.map_or(0, |events| events.len()));
            }
            let roster = database.roster(command.key);
            match roster.phase {
                Phase::Cancelled => prop_assert_eq!(database.active(command.key).count(), 0),
                Phase::Open => {
                    let capacity = roster.terms.as_ref().map_or(0, |terms| terms.capacity);
                    prop_assert!(roster.waiting == 0 || roster.taken >= i64::from(capacity), "a seat stays empty: {:?}", roster);
                }
                Phase::NotReceived | Phase::Ended => {}
            }
        }
    }
}
