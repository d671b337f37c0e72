//! Who has a seat at one event, and who waits for one. Pure.

mod check_in;
mod decisions;
mod rejection;
mod seating;
mod wanted;

use contracts::aggregate::MAX_DOMAIN_EVENTS;
use contracts::{
    Actor, Aggregate, Command, RegistrationCommand, RegistrationEvent, RosterCloseReason, SeatConfirmed,
    SeatWaitlisted, Terms, state,
};
use uuid::Uuid;

pub use rejection::Rejection;
pub use seating::{Place, Registration, Seating};
pub use wanted::Wanted;

/// On whose behalf a roster follows its event.
pub const SELF: Actor = Actor::service("registration");

state! {
    /// One event's seats and waiting list, as counters and dates: its registrations are rows, seen through
    /// [`Seating`].
    #[derive(Debug, Default, Clone, PartialEq)]
    pub struct Roster {
        /// How many domain events it has; whoever registers next is placed at the one after.
        pub version: i64,
        /// The newest of its event's domain events that it follows.
        pub event_sequence: i64,
        pub phase: Phase,
        pub terms: Option<Terms>,
        /// Seats given. More than the capacity, if that was cut later.
        pub taken: i64,
        pub waiting: i64,
    }

    #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
    pub enum Phase {
        /// Its event was not published yet, as far as this service knows.
        #[default]
        Unheard,
        Open,
        Cancelled,
        Ended,
    }
}

impl Aggregate for Roster {
    const NAME: &'static str = "registration.roster";
    type Command = RegistrationCommand;
    type DomainEvent = RegistrationEvent;
    type Context = Seating;
    type Rejection = Rejection;

    fn decide(
        &self,
        seating: &Seating,
        command: &Command<RegistrationCommand>,
    ) -> Result<Vec<RegistrationEvent>, Rejection> {
        match &command.body {
            RegistrationCommand::FollowEvent(follow) => self.follow(seating, command, follow),
            RegistrationCommand::Register(register) => self.register(seating, command, register),
            RegistrationCommand::CancelRegistration(cancel) => self.cancel(seating, command, cancel),
            RegistrationCommand::CheckIn(check_in) => self.check_in(seating, command, check_in),
            RegistrationCommand::ContinueClosing(_) => self.continue_closing(seating, command),
        }
    }

    fn evolve(&mut self, seating: &mut Seating, key: Uuid, event: &RegistrationEvent) {
        self.version += 1;
        match event {
            RegistrationEvent::RosterOpened(opened) => self.open(opened.event_sequence, &opened.terms),
            RegistrationEvent::RosterChanged(changed) => self.open(changed.event_sequence, &changed.terms),
            RegistrationEvent::RosterClosed(closed) => {
                self.event_sequence = closed.event_sequence;
                self.phase = match closed.reason {
                    RosterCloseReason::Cancelled => Phase::Cancelled,
                    // What a newer writer means by its symbol, nobody can register any more.
                    RosterCloseReason::Ended | RosterCloseReason::Unknown => Phase::Ended,
                };
            }
            RegistrationEvent::SeatConfirmed(SeatConfirmed {
                registration_id,
                user_id,
            }) => {
                self.taken += 1;
                seating.create(self.newcomer(key, *registration_id, *user_id, Place::Seat));
            }
            RegistrationEvent::SeatWaitlisted(SeatWaitlisted {
                registration_id,
                user_id,
            }) => {
                self.waiting += 1;
                seating.create(self.newcomer(key, *registration_id, *user_id, Place::Waiting));
            }
            RegistrationEvent::SeatPromoted(promoted) => {
                self.waiting -= 1;
                self.taken += 1;
                seating.move_to(promoted.registration_id, Place::Seat);
            }
            RegistrationEvent::AttendeeCheckedIn(checked_in) => {
                seating.move_to(checked_in.registration_id, Place::CheckedIn);
            }
            RegistrationEvent::RegistrationCancelled(cancelled) => {
                *(if cancelled.had_seat {
                    &mut self.taken
                } else {
                    &mut self.waiting
                }) -= 1;
                seating.move_to(cancelled.registration_id, Place::Cancelled);
            }
        }
    }
}

impl Roster {
    fn open(&mut self, event_sequence: i64, terms: &Terms) {
        self.event_sequence = event_sequence;
        self.phase = Phase::Open;
        self.terms = Some(terms.clone());
    }

    fn newcomer(&self, event_id: Uuid, id: Uuid, user_id: Uuid, place: Place) -> Registration {
        Registration {
            id,
            event_id,
            user_id,
            place,
            position: self.version,
        }
    }
}

/// Returns `true` if a command that led to `domain_events` domain events must be followed by a `ContinueClosing`.
///
/// Such a command stopped at the limit, so there may be more to do.
pub fn needs_continuation(command: &RegistrationCommand, domain_events: usize) -> bool {
    domain_events >= MAX_DOMAIN_EVENTS
        && matches!(
            command,
            RegistrationCommand::FollowEvent(_) | RegistrationCommand::ContinueClosing(_)
        )
}
