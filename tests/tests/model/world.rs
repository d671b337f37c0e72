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

use crate::places::{Lines, Places};
use crate::steps::Step;

const ORGANIZER: Actor = Actor::User(Uuid::from_u128(1));

/// The three domains. Their contexts forget nothing, so they are the stores; seats are read from what was published.
#[derive(Default)]
pub(crate) struct World {
    users: BTreeMap<Uuid, User>,
    accounts: Accounts,
    events: BTreeMap<Uuid, (Event, i64)>,
    rosters: BTreeMap<Uuid, Roster>,
    seating: Seating,
    asked: usize,
    lines: Lines,
    under_way: Vec<Notice>,
}

enum Notice {
    Command(Uuid, RegistrationCommand),
    AccountClosed(Uuid),
}

impl World {
    /// Whether it is accepted.
    pub(crate) fn take(&mut self, step: Step) -> bool {
        match step {
            Step::SignUp { user, name } => self.ask_user(user, sign_up(name)),
            Step::ChangeEmail { user, name } => {
                let email = Some(email(name));
                self.ask_user(
                    user,
                    ChangeUser {
                        email,
                        ..ChangeUser::default()
                    },
                )
            }
            Step::CloseAccount { user } => {
                let reason = String::new();
                self.ask_user(user, DeactivateUser { reason })
            }
            Step::Erase { user } => self.ask_user(user, EraseUser {}),
            Step::Draft {
                event,
                capacity,
                waiting_list,
            } => self.ask_event(event, ORGANIZER, draft(capacity, waiting_list)),
            Step::Resize { event, capacity } => {
                let capacity = Some(capacity);
                self.ask_event(
                    event,
                    ORGANIZER,
                    ChangeEvent {
                        capacity,
                        ..ChangeEvent::default()
                    },
                )
            }
            Step::Publish { event } => self.ask_event(event, ORGANIZER, PublishEvent {}),
            Step::CallOff { event } => {
                let reason = String::new();
                self.ask_event(event, ORGANIZER, CancelEvent { reason })
            }
            Step::Pass { event } => self.ask_event(event, event::domain::SELF, EndEvent {}),
            Step::Register { event, user } => {
                let (registration_id, user_id) = (registration_id(self.asked), user_id(user));
                self.asked += 1;
                let register = Register {
                    registration_id,
                    user_id,
                };
                self.ask_roster(event_id(event), Actor::User(user_id), register.into())
            }
            Step::Leave { nth } => self.leave(nth),
            Step::Deliver { nth } => self.deliver(nth),
        }
    }

    fn ask_user(&mut self, user: u8, body: impl Into<UserCommand>) -> bool {
        let key = user_id(user);
        let command = command(key, Actor::User(key), body.into());
        // The newest is what is asked for: there is one command at a time.
        let _ = self.accounts.claim(key, &command.body);
        let user = self.users.entry(key).or_default();
        let Ok(said) = user.decide(&self.accounts, &command) else {
            return false;
        };
        for event in said {
            user.evolve(&mut self.accounts, key, &event);
            if matches!(event, UserEvent::UserDeactivated(_)) {
                self.under_way.push(Notice::AccountClosed(key));
            }
        }
        true
    }

    fn ask_event(&mut self, event: u8, actor: Actor, body: impl Into<EventCommand>) -> bool {
        let key = event_id(event);
        let mut command = command(key, actor, body.into());
        if matches!(command.body, EventCommand::EndEvent(_)) {
            command.time = ends_at();
        }
        let (event, version) = self.events.entry(key).or_default();
        let Ok(said) = event.decide(&(), &command) else {
            return false;
        };
        for said in said {
            event.evolve(&mut (), key, &said);
            *version += 1;
            if let Some(follow) = registration::consumers::follow(&said, *version) {
                self.under_way.push(Notice::Command(key, follow.into()));
            }
        }
        true
    }

    fn ask_roster(&mut self, key: Uuid, actor: Actor, body: RegistrationCommand) -> bool {
        let command = command(key, actor, body);
        let roster = self.rosters.entry(key).or_default();
        let Ok(said) = roster.decide(&self.seating, &command) else {
            return false;
        };
        for event in said {
            roster.evolve(&mut self.seating, key, &event);
            self.lines.note(key, &event);
        }
        true
    }

    fn leave(&mut self, nth: usize) -> bool {
        let Some((id, event, user)) = self.lines.nth(nth) else {
            return false;
        };
        self.ask_roster(event, Actor::User(user), cancel(id, CancelReason::ByAttendee))
    }

    fn deliver(&mut self, nth: usize) -> bool {
        let Some(nth) = nth.checked_rem(self.under_way.len()) else {
            return true;
        };
        match self.under_way.remove(nth) {
            Notice::Command(key, command) => self.ask_roster(key, registration::domain::SELF, command),
            Notice::AccountClosed(user) => {
                self.seating.add_deactivated(user);
                for (id, event) in self.lines.active_of(user) {
                    let release = cancel(id, CancelReason::UserDeactivated);
                    self.under_way.push(Notice::Command(event, release));
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
                let details = event.details.as_ref().expect("an event says what it is");
                (number(*id), details.capacity)
            })
            .collect()
    }

    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    pub(crate) fn places(&self) -> Places {
        self.lines.places()
    }
}

fn sign_up(name: u8) -> CreateUser {
    CreateUser {
        email: email(name),
        username: format!("name{name}"),
        full_name: "Somebody".into(),
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

/// Of a user or an event.
pub(crate) fn number(id: Uuid) -> u8 {
    id.as_bytes()[15]
}

/// In the order in which they are made.
fn registration_id(asked: usize) -> Uuid {
    Uuid::from_u128(asked as u128)
}
