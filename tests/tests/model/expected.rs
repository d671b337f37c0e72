use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::places::{Place, Places};
use crate::steps::Step;

/// What should come of it, said as simply as it can be.
#[derive(Debug, Default)]
pub(crate) struct Model {
    accounts: BTreeMap<u8, Account>,
    events: BTreeMap<u8, Event>,
    lines: BTreeMap<u8, Line>,
    /// Event and person of each registration, by number.
    registrations: BTreeMap<usize, (u8, u8)>,
    asked: usize,
    /// Who has no account any more, as far as the lines have heard.
    closed: BTreeSet<u8>,
    under_way: Vec<Notice>,
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
struct Line {
    heard: i64,
    status: Status,
    capacity: usize,
    waiting_list: bool,
    seats: BTreeSet<usize>,
    waiting: VecDeque<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Notice {
    Event { event: u8, says: Event },
    AccountClosed { user: u8 },
    Release { registration: usize },
}

impl Model {
    /// Whether it is accepted.
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
            Step::Resize { event, capacity } => self.tell(event, [Status::Draft, Status::Published], |now| Event {
                capacity,
                ..now
            }),
            Step::Publish { event } => self.tell(event, [Status::Draft, Status::Published], |now| Event {
                status: Status::Published,
                ..now
            }),
            Step::CallOff { event } => {
                let possible = [Status::Draft, Status::Published, Status::Cancelled];
                self.tell(event, possible, |now| Event {
                    status: Status::Cancelled,
                    ..now
                })
            }
            Step::Pass { event } => {
                self.tell(event, [Status::Published], |now| Event {
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
            self.under_way.push(Notice::AccountClosed { user });
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

    /// Changes an event where its status is one of these, and lets the lines know unless it is a draft still.
    fn tell(&mut self, event: u8, possible: impl AsRef<[Status]>, change: impl Fn(Event) -> Event) -> bool {
        let Some(now) = self.events.get_mut(&event) else {
            return false;
        };
        if !possible.as_ref().contains(&now.status) {
            return false;
        }
        let then = change(*now);
        if (then.status, then.capacity) != (now.status, now.capacity) {
            *now = Event {
                version: now.version + 1,
                ..then
            };
            if now.status != Status::Draft {
                self.under_way.push(Notice::Event { event, says: *now });
            }
        }
        true
    }

    fn register(&mut self, event: u8, user: u8) -> bool {
        let number = self.asked;
        self.asked += 1;
        let (line, registrations) = (self.lines.entry(event).or_default(), &self.registrations);
        let mut active = line.seats.iter().chain(&line.waiting);
        let is_in = active.any(|number| registrations[number].1 == user);
        if line.status != Status::Published || self.closed.contains(&user) || is_in {
            return false;
        }
        if line.seats.len() + line.waiting.len() < line.capacity {
            line.seats.insert(number);
        } else if line.waiting_list {
            line.waiting.push_back(number);
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
        let line = self.lines.entry(event).or_default();
        // Who was there when it ended stays on record.
        if line.status == Status::Ended && line.has(number) {
            return false;
        }
        line.remove(number);
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
        let Some(nth) = nth.checked_rem(self.under_way.len()) else {
            return true;
        };
        match self.under_way.remove(nth) {
            Notice::Event { event, says } => self.lines.entry(event).or_default().hear(says),
            Notice::AccountClosed { user } => {
                self.closed.insert(user);
                let lines = &self.lines;
                let theirs = self.registrations.iter().filter(|(_, (_, of))| *of == user);
                let active = theirs.filter(|(number, (event, _))| lines[event].has(**number));
                let release = active.map(|(number, _)| Notice::Release { registration: *number });
                self.under_way.extend(release.collect::<Vec<_>>());
            }
            Notice::Release { registration } => {
                let (event, _) = self.registrations[&registration];
                self.lines.entry(event).or_default().remove(registration);
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

    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    pub(crate) fn places(&self) -> Places {
        let place = |number: &usize, event: &u8| match &self.lines[event] {
            line if line.seats.contains(number) => Place::Seat,
            line => match line.waiting.iter().position(|other| other == number) {
                Some(position) => Place::Waiting(position),
                None => Place::Gone,
            },
        };
        let registrations = self.registrations.iter();
        registrations
            .map(|(number, (event, user))| (*number, (*event, *user, place(number, event))))
            .collect()
    }

    /// What must be so once everything has arrived.
    pub(crate) fn is_at_rest(&self) {
        for (event, says) in &self.events {
            let Some(line) = self.lines.get(event) else { continue };
            assert_eq!(line.status, says.status, "the line follows event {event}");
            let free = line.capacity.saturating_sub(line.seats.len());
            assert!(
                line.status != Status::Published || free == 0 || line.waiting.is_empty(),
                "nobody waits at event {event} while there is a seat"
            );
            for number in line.seats.iter().chain(&line.waiting) {
                let user = self.registrations[number].1;
                assert!(
                    !self.closed.contains(&user),
                    "user {user} has left, and so has the registration"
                );
            }
        }
        for (user, account) in &self.accounts {
            assert_ne!(account.open, self.closed.contains(user), "user {user}");
        }
    }
}

impl Line {
    fn has(&self, number: usize) -> bool {
        self.seats.contains(&number) || self.waiting.contains(&number)
    }

    /// The newest wins, and nothing comes after an end.
    fn hear(&mut self, says: Event) {
        if says.version <= self.heard || matches!(self.status, Status::Cancelled | Status::Ended) {
            return;
        }
        self.heard = says.version;
        self.status = says.status;
        self.capacity = usize::try_from(says.capacity).unwrap_or(0);
        self.waiting_list = says.waiting_list;
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
