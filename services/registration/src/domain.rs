//! The seats and the waiting list of one event. Pure: no I/O, clock or randomness.

mod check_in;
mod decisions;
mod rejection;
mod required_rows;
mod seating;

use contracts::aggregate::MAX_DOMAIN_EVENTS;
use contracts::{
    Actor, Aggregate, Command, RegistrationCommand, RegistrationEvent, RosterCloseReason, SeatConfirmed,
    SeatWaitlisted, Terms, state,
};
use uuid::Uuid;

pub use rejection::Rejection;
pub use required_rows::RequiredRows;
pub use seating::{Registration, RegistrationStatus, Seating};

/// Actor of the commands that this service sends to itself.
pub const SELF: Actor = Actor::service("registration");

state! {
    /// The seats and the waiting list of one event, as counters and dates. Its registrations are rows, which decisions
    /// see through [`Seating`].
    #[derive(Debug, Default, Clone, PartialEq)]
    pub struct Roster {
        /// Number of domain events so far. The next registration gets the following number as its position.
        pub version: i64,
        /// Sequence of the newest domain event of its event that the roster has followed.
        pub event_sequence: i64,
        pub phase: Phase,
        pub terms: Option<Terms>,
        /// Number of taken seats. It exceeds the capacity if the capacity was reduced later.
        pub taken: i64,
        /// Number of registrations on the waiting list.
        pub waiting: i64,
    }

    #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
    pub enum Phase {
        /// No publication of its event has been received yet.
        #[default]
        NotReceived,
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
                    // Whatever a newer writer's symbol means, registration is over.
                    RosterCloseReason::Ended | RosterCloseReason::Unknown => Phase::Ended,
                };
            }
            RegistrationEvent::SeatConfirmed(SeatConfirmed {
                registration_id,
                user_id,
            }) => {
                self.taken += 1;
                seating.create(self.new_registration(key, *registration_id, *user_id, RegistrationStatus::Confirmed));
            }
            RegistrationEvent::SeatWaitlisted(SeatWaitlisted {
                registration_id,
                user_id,
            }) => {
                self.waiting += 1;
                seating.create(self.new_registration(key, *registration_id, *user_id, RegistrationStatus::Waitlisted));
            }
            RegistrationEvent::SeatPromoted(promoted) => {
                self.waiting -= 1;
                self.taken += 1;
                seating.set_status(promoted.registration_id, RegistrationStatus::Confirmed);
            }
            RegistrationEvent::AttendeeCheckedIn(checked_in) => {
                seating.set_status(checked_in.registration_id, RegistrationStatus::CheckedIn);
            }
            RegistrationEvent::RegistrationCancelled(cancelled) => {
                *(if cancelled.had_seat {
                    &mut self.taken
                } else {
                    &mut self.waiting
                }) -= 1;
                seating.set_status(cancelled.registration_id, RegistrationStatus::Cancelled);
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

    fn new_registration(&self, event_id: Uuid, id: Uuid, user_id: Uuid, status: RegistrationStatus) -> Registration {
        Registration {
            id,
            event_id,
            user_id,
            status,
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
