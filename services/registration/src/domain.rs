//! Who has a seat at one event, and who waits for one. Pure.

mod rejection;
mod seating;
mod wanted;

use contracts::{
    Actor, Aggregate, CancelReason, CancelRegistration, Command, EventStatus, FollowEvent, Register,
    RegistrationCancelled, RegistrationCommand, RegistrationEvent, RosterChanged, RosterCloseReason, RosterClosed,
    RosterOpened, SeatConfirmed, SeatPromoted, SeatWaitlisted, Terms, Timestamp, state,
};
use uuid::Uuid;

pub use rejection::Rejection;
pub use seating::{Place, Registration, Seating};
pub use wanted::Wanted;

/// On whose behalf a roster follows its event.
pub const SELF: Actor = Actor::service("registration");

/// What one command may lead to at most; what is left over goes on by [`ContinueClosing`](contracts::ContinueClosing).
pub const MAX_DOMAIN_EVENTS: usize = 1_000;

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
            RegistrationCommand::ContinueClosing(_) => self.go_on(seating, command),
        }
    }

    fn evolve(&mut self, seating: &mut Seating, key: Uuid, event: &RegistrationEvent) {
        self.version += 1;
        match event {
            RegistrationEvent::RosterOpened(opened) => self.open(opened.event_sequence, terms_of_opened(opened)),
            RegistrationEvent::RosterChanged(changed) => self.open(changed.event_sequence, terms_of_changed(changed)),
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
                seating.add(self.newcomer(key, *registration_id, *user_id, Place::Seat));
            }
            RegistrationEvent::SeatWaitlisted(SeatWaitlisted {
                registration_id,
                user_id,
            }) => {
                self.waiting += 1;
                seating.add(self.newcomer(key, *registration_id, *user_id, Place::Waiting));
            }
            RegistrationEvent::SeatPromoted(promoted) => {
                self.waiting -= 1;
                self.taken += 1;
                seating.move_to(promoted.registration_id, Place::Seat);
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

/// Whether a command that led to so many domain events has to be followed by a `ContinueClosing`: it stopped at the
/// limit, so that there may be more to do.
pub fn must_go_on(command: &RegistrationCommand, domain_events: usize) -> bool {
    domain_events >= MAX_DOMAIN_EVENTS
        && matches!(
            command,
            RegistrationCommand::FollowEvent(_) | RegistrationCommand::ContinueClosing(_)
        )
}

impl Roster {
    fn follow(
        &self,
        seating: &Seating,
        command: &Command<RegistrationCommand>,
        follow: &FollowEvent,
    ) -> Result<Vec<RegistrationEvent>, Rejection> {
        if command.actor != Some(SELF) {
            return Err(Rejection::Forbidden);
        }
        let closed = matches!(self.phase, Phase::Cancelled | Phase::Ended);
        if follow.event_sequence <= self.event_sequence || closed {
            return Ok(Vec::new());
        }
        match (follow.status, &follow.terms) {
            (EventStatus::Published, Some(terms)) => {
                Ok(self.take_terms(seating, command, follow.event_sequence, terms))
            }
            (EventStatus::Cancelled, _) => {
                let closed = closed_by(follow.event_sequence, RosterCloseReason::Cancelled);
                let ended = self.end_registrations(seating, command.key, seating.limit() - 1);
                Ok([closed].into_iter().chain(ended).collect())
            }
            (EventStatus::Ended, _) => Ok(vec![closed_by(follow.event_sequence, RosterCloseReason::Ended)]),
            (EventStatus::Published, None) | (EventStatus::Unknown, _) => Err(Rejection::Unsupported),
        }
    }

    /// Says so even where the terms stay the same: only a domain event raises `event_sequence`, and without it an
    /// older command that comes late would win.
    fn take_terms(
        &self,
        seating: &Seating,
        command: &Command<RegistrationCommand>,
        event_sequence: i64,
        terms: &Terms,
    ) -> Vec<RegistrationEvent> {
        if self.phase == Phase::Unheard {
            return vec![opened(event_sequence, terms)];
        }
        let then = Self {
            terms: Some(terms.clone()),
            ..self.clone()
        };
        let promoted = then.promote(seating, command, seating.limit() - 1);
        [changed(event_sequence, terms)].into_iter().chain(promoted).collect()
    }

    fn register(
        &self,
        seating: &Seating,
        command: &Command<RegistrationCommand>,
        register: &Register,
    ) -> Result<Vec<RegistrationEvent>, Rejection> {
        let &Register {
            registration_id,
            user_id,
        } = register;
        let permitted = match &command.actor {
            Some(Actor::User(id)) => *id == user_id,
            Some(Actor::System(_)) => true,
            None => false,
        };
        if !permitted {
            return Err(Rejection::Forbidden);
        }
        let terms = match (self.phase, &self.terms) {
            (Phase::Open, Some(terms)) => terms,
            (Phase::Cancelled, _) => return Err(Rejection::EventCancelled),
            (Phase::Ended, _) => return Err(Rejection::EventEnded),
            (Phase::Unheard, _) | (Phase::Open, None) => return Err(Rejection::EventUnknown),
        };
        if terms.starts_at <= command.time {
            return Err(Rejection::EventStarted);
        }
        if terms.registration_closes_at <= command.time {
            return Err(Rejection::RegistrationClosed);
        }
        if seating.is_deactivated(user_id) {
            return Err(Rejection::UserDeactivated);
        }
        if seating.is_registered(command.key, user_id) {
            return Err(Rejection::AlreadyRegistered);
        }
        if seating.find(registration_id).is_some() {
            return Err(Rejection::AlreadyExists);
        }
        // Whoever waits goes first, even while promotions are still under way.
        if self.taken + self.waiting < i64::from(terms.capacity) {
            Ok(vec![
                SeatConfirmed {
                    registration_id,
                    user_id,
                }
                .into(),
            ])
        } else if terms.waiting_list {
            Ok(vec![
                SeatWaitlisted {
                    registration_id,
                    user_id,
                }
                .into(),
            ])
        } else {
            Err(Rejection::EventFull)
        }
    }

    fn cancel(
        &self,
        seating: &Seating,
        command: &Command<RegistrationCommand>,
        cancel: &CancelRegistration,
    ) -> Result<Vec<RegistrationEvent>, Rejection> {
        let found = seating
            .find(cancel.registration_id)
            .filter(|found| found.event_id == command.key);
        let registration = found.ok_or(Rejection::RegistrationUnheard)?;
        let reason = match &command.actor {
            Some(Actor::User(id)) if *id == registration.user_id => CancelReason::ByAttendee,
            Some(Actor::User(id)) if self.is_organized_by(*id) => CancelReason::ByOrganizer,
            Some(Actor::System(_)) => cancel.reason,
            Some(Actor::User(_)) | None => return Err(Rejection::RegistrationUnknown),
        };
        if registration.place == Place::Cancelled {
            return Ok(Vec::new());
        }
        let by_service = matches!(command.actor, Some(Actor::System(_)));
        match self.phase {
            // It had ended with the event, it just was not its turn yet.
            Phase::Cancelled => Ok(vec![ended(registration, CancelReason::EventCancelled)]),
            // Who was there stays on record, but for accounts that are closed.
            Phase::Ended if !by_service => Err(Rejection::EventEnded),
            Phase::Unheard | Phase::Open | Phase::Ended => {
                let had_seat = registration.place == Place::Seat;
                let then = Self {
                    taken: self.taken - i64::from(had_seat),
                    ..self.clone()
                };
                let promoted = then.promote(seating, command, usize::from(had_seat));
                Ok([ended(registration, reason)].into_iter().chain(promoted).collect())
            }
        }
    }

    /// Does the next piece of what did not fit into one command: ending registrations of a cancelled event, or
    /// promotions after the capacity grew a lot.
    fn go_on(
        &self,
        seating: &Seating,
        command: &Command<RegistrationCommand>,
    ) -> Result<Vec<RegistrationEvent>, Rejection> {
        if command.actor != Some(SELF) {
            return Err(Rejection::Forbidden);
        }
        match self.phase {
            Phase::Cancelled => Ok(self.end_registrations(seating, command.key, seating.limit()).collect()),
            Phase::Open => Ok(self.promote(seating, command, seating.limit()).collect()),
            Phase::Unheard | Phase::Ended => Ok(Vec::new()),
        }
    }

    /// Gives free seats to the first in line, to `limit` of them at most.
    fn promote<'a>(
        &self,
        seating: &'a Seating,
        command: &Command<RegistrationCommand>,
        limit: usize,
    ) -> impl Iterator<Item = RegistrationEvent> + use<'a> {
        let seats = usize::try_from(self.promotable(command.time)).unwrap_or(0);
        seating
            .first_waiting(command.key)
            .take(seats.min(limit))
            .map(|registration| {
                SeatPromoted {
                    registration_id: registration.id,
                    user_id: registration.user_id,
                }
                .into()
            })
    }

    /// How many of those who wait could have a seat. Seats that come free after the start stay empty: nobody could be
    /// told in time.
    fn promotable(&self, now: Timestamp) -> i64 {
        match &self.terms {
            Some(terms) if self.phase == Phase::Open && now < terms.starts_at => {
                (i64::from(terms.capacity) - self.taken).clamp(0, self.waiting)
            }
            _ => 0,
        }
    }

    fn end_registrations<'a>(
        &self,
        seating: &'a Seating,
        key: Uuid,
        limit: usize,
    ) -> impl Iterator<Item = RegistrationEvent> + use<'a> {
        seating
            .first_active(key)
            .take(limit)
            .map(|registration| ended(registration, CancelReason::EventCancelled))
    }

    fn is_organized_by(&self, user: Uuid) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.organizer_id == user)
    }

    fn open(&mut self, event_sequence: i64, terms: Terms) {
        self.event_sequence = event_sequence;
        self.phase = Phase::Open;
        self.terms = Some(terms);
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

fn ended(registration: &Registration, reason: CancelReason) -> RegistrationEvent {
    RegistrationCancelled {
        registration_id: registration.id,
        user_id: registration.user_id,
        reason,
        had_seat: registration.place == Place::Seat,
    }
    .into()
}

fn closed_by(event_sequence: i64, reason: RosterCloseReason) -> RegistrationEvent {
    RosterClosed { event_sequence, reason }.into()
}

fn opened(event_sequence: i64, terms: &Terms) -> RegistrationEvent {
    let &Terms {
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

fn changed(event_sequence: i64, terms: &Terms) -> RegistrationEvent {
    let &Terms {
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

fn terms_of_opened(opened: &RosterOpened) -> Terms {
    let &RosterOpened {
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
        ..
    } = opened;
    Terms {
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
    }
}

fn terms_of_changed(changed: &RosterChanged) -> Terms {
    let &RosterChanged {
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
        ..
    } = changed;
    Terms {
        organizer_id,
        capacity,
        waiting_list,
        registration_closes_at,
        starts_at,
        ends_at,
    }
}
