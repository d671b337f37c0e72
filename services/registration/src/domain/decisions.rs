//! What each command leads to.

use contracts::{
    Actor, CancelReason, CancelRegistration, Command, EventStatus, FollowEvent, Register, RegistrationCancelled,
    RegistrationCommand, RegistrationEvent, RosterChanged, RosterCloseReason, RosterClosed, RosterOpened,
    SeatConfirmed, SeatPromoted, SeatWaitlisted, Terms, Timestamp,
};
use uuid::Uuid;

use super::{Phase, Place, Registration, Rejection, Roster, SELF, Seating};

impl Roster {
    pub(super) fn follow(
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
            return vec![
                RosterOpened {
                    event_sequence,
                    terms: terms.clone(),
                }
                .into(),
            ];
        }
        let then = Self {
            terms: Some(terms.clone()),
            ..self.clone()
        };
        let promoted = then.promote(seating, command, seating.limit() - 1);
        let changed = RosterChanged {
            event_sequence,
            terms: terms.clone(),
        };
        [changed.into()].into_iter().chain(promoted).collect()
    }

    pub(super) fn register(
        &self,
        seating: &Seating,
        command: &Command<RegistrationCommand>,
        register: &Register,
    ) -> Result<Vec<RegistrationEvent>, Rejection> {
        let &Register {
            registration_id,
            user_id,
        } = register;
        if !command.actor.as_ref().is_some_and(|actor| actor.may_act_for(user_id)) {
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
        if terms
            .registration_opens_at
            .is_some_and(|opens_at| command.time < opens_at)
        {
            return Err(Rejection::RegistrationNotOpen);
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

    pub(super) fn cancel(
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
            Some(Actor::User(id) | Actor::Admin(id)) if *id == registration.user_id => CancelReason::ByAttendee,
            Some(Actor::User(id)) if self.is_organized_by(*id) => CancelReason::ByOrganizer,
            Some(Actor::Admin(_)) => CancelReason::ByOrganizer,
            Some(Actor::System(_)) => cancel.reason,
            Some(Actor::User(_)) | None => return Err(Rejection::RegistrationUnknown),
        };
        if registration.place == Place::Cancelled {
            return Ok(Vec::new());
        }
        let by_service = matches!(command.actor, Some(Actor::System(_)));
        match self.phase {
            // It had ended with the event, it just was not its turn yet.
            Phase::Cancelled => return Ok(vec![ended(registration, CancelReason::EventCancelled)]),
            // Who was there stays on record, but for accounts that are closed.
            Phase::Ended if !by_service => return Err(Rejection::EventEnded),
            Phase::Unheard | Phase::Open | Phase::Ended => {}
        }
        match (registration.place, reason) {
            (Place::CheckedIn, CancelReason::ByAttendee) => return Err(Rejection::CheckedIn),
            // Who was seen there stays on record, whatever becomes of the account.
            (Place::CheckedIn, CancelReason::UserDeactivated) => return Ok(Vec::new()),
            _ => {}
        }
        let had_seat = registration.place.has_seat();
        let then = Self {
            taken: self.taken - i64::from(had_seat),
            ..self.clone()
        };
        let promoted = then.promote(seating, command, usize::from(had_seat));
        Ok([ended(registration, reason)].into_iter().chain(promoted).collect())
    }

    /// Does the next piece of what did not fit into one command: ending registrations of a cancelled event, or
    /// promotions after the capacity grew a lot.
    pub(super) fn continue_closing(
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
                (i64::from(terms.capacity) - self.taken).min(self.waiting).max(0)
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
}

fn ended(registration: &Registration, reason: CancelReason) -> RegistrationEvent {
    RegistrationCancelled {
        registration_id: registration.id,
        user_id: registration.user_id,
        reason,
        had_seat: registration.place.has_seat(),
    }
    .into()
}

fn closed_by(event_sequence: i64, reason: RosterCloseReason) -> RegistrationEvent {
    RosterClosed { event_sequence, reason }.into()
}
