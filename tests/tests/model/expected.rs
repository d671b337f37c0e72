use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::positions::{Position, Positions};
use crate::steps::Step;

/// The expected behaviour, in its simplest form.
#[derive(Debug, Default)]
pub(crate) struct Model {
    accounts: BTreeMap<u8, Account>,
    events: BTreeMap<u8, Event>,
    rosters: BTreeMap<u8, Roster>,
    /// Event and person of each registration, by number.
    registrations: BTreeMap<usize, (u8, u8)>,
    registration_count: usize,
    /// Closed accounts that the rosters know of.
    closed: BTreeSet<u8>,
    in_flight: Vec<Notice>,
}

#[derive(Debug, Default)]
struct Account {
    open: bool,
    email: Option<u8>,
    username: Option<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Event {
    status: Status,
    version: i64,
    capacity: i32,
    waiting_list: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Status {
    #[default]
    Draft,
    Published,
    Cancelled,
    Ended,
}

/// One event's seats and waiting list; registrations by number.
#[derive(Debug, Default)]
struct Roster {
    followed_version: i64,
    status: Status,
    capacity: usize,
    waiting_list: bool,
    seats: BTreeSet<usize>,
    waiting: VecDeque<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Notice {
    Event { event: u8, change: Event },
    AccountClosed { user: u8 },
    Release { registration: usize },
}

impl Model {
    /// Applies a step. Returns `true` if its command is accepted.
    pub(crate) fn take(&mut self, step: Step) -> bool {
        match step {
            Step::SignUp { user, name } => self.sign_up(user, name),
            Step::ChangeEmail { user, name } => self.change_email(user, name),
            Step::CloseAccount { user } => self.close_account(user),
            Step::Erase { user } => self.erase(user),
            Step::Draft {
                event,
                capacity,
                waiting_list,
            } => self.draft(event, capacity, waiting_list),
            Step::Resize { event, capacity } => self.change(event, [Status::Draft, Status::Published], |now| Event {
                capacity,
                ..now
            }),
            Step::Publish { event } => self.change(event, [Status::Draft, Status::Published], |now| Event {
                status: Status::Published,
                ..now
            }),
            Step::Cancel { event } => {
                let possible = [Status::Draft, Status::Published, Status::Cancelled];
                self.change(event, possible, |now| Event {
                    status: Status::Cancelled,
                    ..now
                })
            }
            Step::End { event } => {
                self.change(event, [Status::Published], |now| Event {
                    status: Status::Ended,
                    ..now
                });
                true
            }
            Step::Register { event, user } => self.register(event, user),
            Step::Leave { nth } => self.leave(nth),
            Step::Deliver { nth } => self.deliver(nth),
        }
    }

    fn sign_up(&mut self, user: u8, name: u8) -> bool {
        let mut others = self.accounts.values();
        let free = others.all(|other| other.email != Some(name) && other.username != Some(name));
        if self.accounts.contains_key(&user) || !free {
            return false;
        }
        let account = Account {
            open: true,
            email: Some(name),
            username: Some(name),
        };
        self.accounts.insert(user, account);
        true
    }

    fn change_email(&mut self, user: u8, name: u8) -> bool {
        let mut others = self.accounts.iter().filter(|(other, _)| **other != user);
        let free = others.all(|(_, other)| other.email != Some(name));
        match self.accounts.get_mut(&user) {
            Some(account) if account.open && free => {
                account.email = Some(name);
                true
            }
            _ => false,
        }
    }

    fn close_account(&mut self, user: u8) -> bool {
        let Some(account) = self.accounts.get_mut(&user) else {
            return false;
        };
        if account.open {
            account.open = false;
            account.email = None;
            self.in_flight.push(Notice::AccountClosed { user });
        }
        true
    }

    fn erase(&mut self, user: u8) -> bool {
        let exists = self.close_account(user);
        if let Some(account) = self.accounts.get_mut(&user) {
            account.username = None;
        }
        exists
    }

    fn draft(&mut self, event: u8, capacity: i32, waiting_list: bool) -> bool {
        let is_new = !self.events.contains_key(&event);
        self.events.entry(event).or_insert(Event {
            status: Status::Draft,
            version: 1,
            capacity,
            waiting_list,
        });
        is_new
    }

    /// Changes an event that has one of these statuses, and notifies its roster unless the event is still a draft.
    fn change(&mut self, event: u8, possible: impl AsRef<[Status]>, change: impl Fn(Event) -> Event) -> bool {
        let Some(now) = self.events.get_mut(&event) else {
            return false;
        };
        if !possible.as_ref().contains(&now.status) {
            return false;
        }
        let updated = change(*now);
        if (updated.status, updated.capacity) != (now.status, now.capacity) {
            *now = Event {
                version: now.version + 1,
                ..updated
            };
            if now.status != Status::Draft {
                self.in_flight.push(Notice::Event { event, change: *now });
            }
        }
        true
    }

    fn register(&mut self, event: u8, user: u8) -> bool {
        let number = self.registration_count;
        self.registration_count += 1;
        let (roster, registrations) = (self.rosters.entry(event).or_default(), &self.registrations);
        let mut active = roster.seats.iter().chain(&roster.waiting);
        let is_in = active.any(|number| registrations[number].1 == user);
        if roster.status != Status::Published || self.closed.contains(&user) || is_in {
            return false;
        }
        if roster.seats.len() + roster.waiting.len() < roster.capacity {
            roster.seats.insert(number);
        } else if roster.waiting_list {
            roster.waiting.push_back(number);
        } else {
            return false;
        }
        self.registrations.insert(number, (event, user));
        true
    }

    fn leave(&mut self, nth: usize) -> bool {
        let Some((number, event)) = self.nth_registration(nth) else {
            return false;
        };
        let roster = self.rosters.entry(event).or_default();
        // Registrations stay on record after the end of an event.
        if roster.status == Status::Ended && roster.has(number) {
            return false;
        }
        roster.remove(number);
        true
    }

    fn nth_registration(&self, nth: usize) -> Option<(usize, u8)> {
        let number = *self
            .registrations
            .keys()
            .nth(nth.checked_rem(self.registrations.len())?)?;
        Some((number, self.registrations[&number].0))
    }

    fn deliver(&mut self, nth: usize) -> bool {
        let Some(nth) = nth.checked_rem(self.in_flight.len()) else {
            return true;
        };
        match self.in_flight.remove(nth) {
            Notice::Event { event, change } => self.rosters.entry(event).or_default().follow(change),
            Notice::AccountClosed { user } => {
                self.closed.insert(user);
                let rosters = &self.rosters;
                let theirs = self.registrations.iter().filter(|(_, (_, of))| *of == user);
                let active = theirs.filter(|(number, (event, _))| rosters[event].has(**number));
                let release = active.map(|(number, _)| Notice::Release { registration: *number });
                self.in_flight.extend(release.collect::<Vec<_>>());
            }
            Notice::Release { registration } => {
                let (event, _) = self.registrations[&registration];
                self.rosters.entry(event).or_default().remove(registration);
            }
        }
        true
    }

    pub(crate) fn open_accounts(&self) -> BTreeSet<u8> {
        let open = self.accounts.iter().filter(|(_, account)| account.open);
        open.map(|(user, _)| *user).collect()
    }

    pub(crate) fn published(&self) -> BTreeMap<u8, i32> {
        let published = self.events.iter().filter(|(_, it)| it.status == Status::Published);
        published.map(|(event, it)| (*event, it.capacity)).collect()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn positions(&self) -> Positions {
        let position = |number: &usize, event: &u8| match &self.rosters[event] {
            roster if roster.seats.contains(number) => Position::Seat,
            roster => match roster.waiting.iter().position(|other| other == number) {
                Some(position) => Position::Waiting(position),
                None => Position::Ended,
            },
        };
        let registrations = self.registrations.iter();
        registrations
            .map(|(number, (event, user))| (*number, (*event, *user, position(number, event))))
            .collect()
    }

    /// Checks the invariants that hold after every notice was delivered.
    pub(crate) fn check_final_state(&self) {
        for (event, change) in &self.events {
            let Some(roster) = self.rosters.get(event) else {
                continue;
            };
            assert_eq!(roster.status, change.status, "the roster follows event {event}");
            let free = roster.capacity.saturating_sub(roster.seats.len());
            assert!(
                roster.status != Status::Published || free == 0 || roster.waiting.is_empty(),
                "a seat of event {event} is free although people wait"
            );
            for number in roster.seats.iter().chain(&roster.waiting) {
                let user = self.registrations[number].1;
                assert!(
                    !self.closed.contains(&user),
                    "closed account {user} has no active registration"
                );
            }
        }
        for (user, account) in &self.accounts {
            assert_ne!(account.open, self.closed.contains(user), "user {user}");
        }
    }
}

impl Roster {
    fn has(&self, number: usize) -> bool {
        self.seats.contains(&number) || self.waiting.contains(&number)
    }

    /// Follows a change of the event. An older change is ignored, and every change after the end.
    fn follow(&mut self, change: Event) {
        if change.version <= self.followed_version || matches!(self.status, Status::Cancelled | Status::Ended) {
            return;
        }
        self.followed_version = change.version;
        self.status = change.status;
        self.capacity = usize::try_from(change.capacity).unwrap_or(0);
        self.waiting_list = change.waiting_list;
        if self.status == Status::Cancelled {
            self.seats.clear();
            self.waiting.clear();
        }
        self.promote();
    }

    fn remove(&mut self, number: usize) {
        self.seats.remove(&number);
        self.waiting.retain(|other| *other != number);
        self.promote();
    }

    fn promote(&mut self) {
        while self.status == Status::Published && self.seats.len() < self.capacity {
            let Some(first) = self.waiting.pop_front() else { return };
            self.seats.insert(first);
        }
    }
}
