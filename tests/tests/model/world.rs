use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contracts::{
    Actor, Aggregate, CancelEvent, CancelReason, CancelRegistration, ChangeEvent, ChangeUser, Command, CreateEvent,
    CreateUser, Date, DeactivateUser, EndEvent, EraseUser, EventCommand, PublishEvent, Register, RegistrationCommand,
    Timestamp, UserCommand, UserEvent,
};
use event::domain::{Event, Status};
use registration::domain::{Roster, Seating};
use user::domain::{Accounts, User};
use uuid::Uuid;

use crate::positions::{Positions, Rosters};
use crate::steps::Step;

const ORGANIZER: Actor = Actor::User(Uuid::from_u128(1));

/// The three domains. Their contexts keep everything and replace the stores; seats are derived from published events.
#[derive(Default)]
pub(crate) struct World {
    users: BTreeMap<Uuid, User>,
    accounts: Accounts,
    events: BTreeMap<Uuid, (Event, i64)>,
    rosters: BTreeMap<Uuid, Roster>,
    seating: Seating,
    registration_count: usize,
    published: Rosters,
    in_flight: Vec<Notice>,
}

enum Notice {
    Command(Uuid, RegistrationCommand),
    AccountClosed(Uuid),
}

impl World {
    /// Applies a step. Returns `true` if its command is accepted.
    pub(crate) fn take(&mut self, step: Step) -> bool {
        match step {
            Step::SignUp { user, name } => self.command_user(user, sign_up(name)),
            Step::ChangeEmail { user, name } => {
                let email = Some(email(name));
                self.command_user(
                    user,
                    ChangeUser {
                        email,
                        ..ChangeUser::default()
                    },
                )
            }
            Step::CloseAccount { user } => {
                let reason = String::new();
                self.command_user(user, DeactivateUser { reason })
            }
            Step::Erase { user } => self.command_user(user, EraseUser {}),
            Step::Draft {
                event,
                capacity,
                waiting_list,
            } => self.command_event(event, ORGANIZER, draft(capacity, waiting_list)),
            Step::Resize { event, capacity } => {
                let capacity = Some(capacity);
                self.command_event(
                    event,
                    ORGANIZER,
                    ChangeEvent {
                        capacity,
                        ..ChangeEvent::default()
                    },
                )
            }
            Step::Publish { event } => self.command_event(event, ORGANIZER, PublishEvent {}),
            Step::Cancel { event } => {
                let reason = String::new();
                self.command_event(event, ORGANIZER, CancelEvent { reason })
            }
            Step::End { event } => self.command_event(event, event::domain::SELF, EndEvent {}),
            Step::Register { event, user } => {
                let (registration_id, user_id) = (registration_id(self.registration_count), user_id(user));
                self.registration_count += 1;
                let register = Register {
                    registration_id,
                    user_id,
                };
                self.command_roster(event_id(event), Actor::User(user_id), register.into())
            }
            Step::Leave { nth } => self.leave(nth),
            Step::Deliver { nth } => self.deliver(nth),
        }
    }

    fn command_user(&mut self, user: u8, body: impl Into<UserCommand>) -> bool {
        let key = user_id(user);
        let command = command(key, Actor::User(key), body.into());
        // Claims are decided immediately, because only one command is executed at a time.
        let _ = self.accounts.register_command(key, &command.body);
        let user = self.users.entry(key).or_default();
        let Ok(domain_events) = user.decide(&self.accounts, &command) else {
            return false;
        };
        for event in domain_events {
            user.evolve(&mut self.accounts, key, &event);
            if matches!(event, UserEvent::UserDeactivated(_)) {
                self.in_flight.push(Notice::AccountClosed(key));
            }
        }
        true
    }

    fn command_event(&mut self, event: u8, actor: Actor, body: impl Into<EventCommand>) -> bool {
        let key = event_id(event);
        let mut command = command(key, actor, body.into());
        if matches!(command.body, EventCommand::EndEvent(_)) {
            command.time = ends_at();
        }
        let (event, version) = self.events.entry(key).or_default();
        let Ok(domain_events) = event.decide(&(), &command) else {
            return false;
        };
        for domain_event in domain_events {
            event.evolve(&mut (), key, &domain_event);
            *version += 1;
            if let Some(follow) = registration::handlers::follow(&domain_event, *version) {
                self.in_flight.push(Notice::Command(key, follow.into()));
            }
        }
        true
    }

    fn command_roster(&mut self, key: Uuid, actor: Actor, body: RegistrationCommand) -> bool {
        let command = command(key, actor, body);
        let roster = self.rosters.entry(key).or_default();
        let Ok(domain_events) = roster.decide(&self.seating, &command) else {
            return false;
        };
        for event in domain_events {
            roster.evolve(&mut self.seating, key, &event);
            self.published.apply(key, &event);
        }
        true
    }

    fn leave(&mut self, nth: usize) -> bool {
        let Some((id, event, user)) = self.published.nth(nth) else {
            return false;
        };
        self.command_roster(event, Actor::User(user), cancel(id, CancelReason::ByAttendee))
    }

    fn deliver(&mut self, nth: usize) -> bool {
        let Some(nth) = nth.checked_rem(self.in_flight.len()) else {
            return true;
        };
        match self.in_flight.remove(nth) {
            Notice::Command(key, command) => self.command_roster(key, registration::domain::SELF, command),
            Notice::AccountClosed(user) => {
                self.seating.add_deactivated(user);
                for (id, event) in self.published.active_of(user) {
                    let release = cancel(id, CancelReason::UserDeactivated);
                    self.in_flight.push(Notice::Command(event, release));
                }
                true
            }
        }
    }

    pub(crate) fn open_accounts(&self) -> BTreeSet<u8> {
        let open = self.users.iter().filter(|(_, user)| **user == User::Active);
        open.map(|(id, _)| number(*id)).collect()
    }

    pub(crate) fn published(&self) -> BTreeMap<u8, i32> {
        let published = self
            .events
            .iter()
            .filter(|(_, (event, _))| event.status == Status::Published);
        published
            .map(|(id, (event, _))| {
                let details = event.details.as_ref().expect("a published event has details");
                (number(*id), details.capacity)
            })
            .collect()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn positions(&self) -> Positions {
        self.published.positions()
    }
}

fn sign_up(name: u8) -> CreateUser {
    CreateUser {
        email: email(name),
        username: format!("name{name}"),
        full_name: "A person".into(),
        date_of_birth: Date::parse("1990-12-10").expect("a valid date"),
        time_zone: "UTC".into(),
    }
}

fn draft(capacity: i32, waiting_list: bool) -> CreateEvent {
    CreateEvent {
        title: "An event".into(),
        description: String::new(),
        venue: String::new(),
        starts_at: starts_at(),
        ends_at: ends_at(),
        time_zone: "UTC".into(),
        capacity,
        registration_closes_at: starts_at(),
        waiting_list,
        registration_opens_at: None,
    }
}

fn cancel(registration_id: Uuid, reason: CancelReason) -> RegistrationCommand {
    CancelRegistration {
        registration_id,
        reason,
    }
    .into()
}

fn command<C>(key: Uuid, actor: Actor, body: C) -> Command<C> {
    Command {
        id: Uuid::nil(),
        key,
        actor: Some(actor),
        time: Timestamp::parse("2026-03-01T12:00:00Z").expect("a valid time"),
        expected_version: None,
        last_attempt: true,
        body,
    }
}

fn starts_at() -> Timestamp {
    Timestamp::parse("2026-06-01T12:00:00Z").expect("a valid time")
}

fn ends_at() -> Timestamp {
    starts_at() + Duration::from_secs(3600)
}

fn email(name: u8) -> String {
    format!("name{name}@example.com")
}

fn user_id(user: u8) -> Uuid {
    Uuid::from_u128(0x100 + u128::from(user))
}

fn event_id(event: u8) -> Uuid {
    Uuid::from_u128(0x200 + u128::from(event))
}

/// Returns the number of a user or an event.
pub(crate) fn number(id: Uuid) -> u8 {
    id.as_bytes()[15]
}

/// Returns an id. Ids are in the order of registration.
fn registration_id(count: usize) -> Uuid {
    Uuid::from_u128(count as u128)
}
