//! The decision for each command.

use contracts::{
    Actor, CancelReason, CancelRegistration, Command, EventStatus, FollowEvent, Register, RegistrationCancelled,
    RegistrationCommand, RegistrationEvent, RosterChanged, RosterCloseReason, RosterClosed, RosterOpened,
    SeatConfirmed, SeatPromoted, SeatWaitlisted, Terms, Timestamp,
};
use uuid::Uuid;

use super::{Phase, Registration, RegistrationStatus, Rejection, Roster, SELF, Seating};

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
                Ok(self.adopt_terms(seating, command, follow.event_sequence, terms))
            }
            (EventStatus::Cancelled, _) => {
                let closed = roster_closed(follow.event_sequence, RosterCloseReason::Cancelled);
                let cancelled = self.cancel_registrations(seating, command.key, seating.limit() - 1);
                Ok([closed].into_iter().chain(cancelled).collect())
            }
            (EventStatus::Ended, _) => Ok(vec![roster_closed(follow.event_sequence, RosterCloseReason::Ended)]),
            (EventStatus::Published, None) | (EventStatus::Unknown, _) => Err(Rejection::Unsupported),
        }
    }

    /// Adopts the event's terms, and promotes registrations if there are free seats.
    ///
    /// Returns a domain event even if the terms are the same, because only a domain event raises `event_sequence`.
    /// Otherwise a late command with an older sequence would win.
    fn adopt_terms(
        &self,
        seating: &Seating,
        command: &Command<RegistrationCommand>,
        event_sequence: i64,
        terms: &Terms,
    ) -> Vec<RegistrationEvent> {
        if self.phase == Phase::NotReceived {
            return vec![
                RosterOpened {
                    event_sequence,
                    terms: terms.clone(),
                }
                .into(),
            ];
        }
        let updated = Self {
            terms: Some(terms.clone()),
            ..self.clone()
        };
        let promoted = updated.promote(seating, command, seating.limit() - 1);
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
            (Phase::NotReceived, _) | (Phase::Open, None) => return Err(Rejection::EventUnknown),
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
        // The waiting list goes first, even while its promotions are still in progress.
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
        let registration = found.ok_or(Rejection::RegistrationNotReceived)?;
        let reason = match &command.actor {
            Some(Actor::User(id) | Actor::Admin(id)) if *id == registration.user_id => CancelReason::ByAttendee,
            Some(Actor::User(id)) if self.is_organized_by(*id) => CancelReason::ByOrganizer,
            Some(Actor::Admin(_)) => CancelReason::ByOrganizer,
            Some(Actor::System(_)) => cancel.reason,
            Some(Actor::User(_)) | None => return Err(Rejection::RegistrationUnknown),
        };
        if registration.status == RegistrationStatus::Cancelled {
            return Ok(Vec::new());
        }
        let by_service = matches!(command.actor, Some(Actor::System(_)));
        match self.phase {
            // The event's cancellation also cancels this registration; its turn had not come yet.
            Phase::Cancelled => return Ok(vec![cancelled(registration, CancelReason::EventCancelled)]),
            // Registrations of an ended event are kept. Only closing an account still cancels one.
            Phase::Ended if !by_service => return Err(Rejection::EventEnded),
            Phase::NotReceived | Phase::Open | Phase::Ended => {}
        }
        match (registration.status, reason) {
            (RegistrationStatus::CheckedIn, CancelReason::ByAttendee) => return Err(Rejection::CheckedIn),
            // A checked-in registration is kept, even after the account is closed.
            (RegistrationStatus::CheckedIn, CancelReason::UserDeactivated) => return Ok(Vec::new()),
            _ => {}
        }
        let had_seat = registration.status.has_seat();
        let updated = Self {
            taken: self.taken - i64::from(had_seat),
            ..self.clone()
        };
        let promoted = updated.promote(seating, command, usize::from(had_seat));
        Ok([cancelled(registration, reason)].into_iter().chain(promoted).collect())
    }

    /// Does the next part of work that exceeds the limit of one command: cancels further registrations of a cancelled
    /// event, or promotes further registrations after a large increase in capacity.
    pub(super) fn continue_closing(
        &self,
        seating: &Seating,
        command: &Command<RegistrationCommand>,
    ) -> Result<Vec<RegistrationEvent>, Rejection> {
        if command.actor != Some(SELF) {
            return Err(Rejection::Forbidden);
        }
        match self.phase {
            Phase::Cancelled => Ok(self
                .cancel_registrations(seating, command.key, seating.limit())
                .collect()),
            Phase::Open => Ok(self.promote(seating, command, seating.limit()).collect()),
            Phase::NotReceived | Phase::Ended => Ok(Vec::new()),
        }
    }

    /// Gives free seats to the first registrations on the waiting list, at most `limit` of them.
    fn promote<'a>(
        &self,
        seating: &'a Seating,
        command: &Command<RegistrationCommand>,
        limit: usize,
    ) -> impl Iterator<Item = RegistrationEvent> + use<'a> {
        let seats = usize::try_from(self.promotion_count(command.time)).unwrap_or(0);
        seating.waiting(command.key).take(seats.min(limit)).map(|registration| {
            SeatPromoted {
                registration_id: registration.id,
                user_id: registration.user_id,
            }
            .into()
        })
    }

    /// Returns the number of waiting registrations that can get a seat.
    ///
    /// Seats that become free after the start stay empty, because their new holders could not be notified in time.
    fn promotion_count(&self, now: Timestamp) -> i64 {
        match &self.terms {
            Some(terms) if self.phase == Phase::Open && now < terms.starts_at => {
                (i64::from(terms.capacity) - self.taken).min(self.waiting).max(0)
            }
            _ => 0,
        }
    }

    fn cancel_registrations<'a>(
        &self,
        seating: &'a Seating,
        key: Uuid,
        limit: usize,
    ) -> impl Iterator<Item = RegistrationEvent> + use<'a> {
        seating
            .active(key)
            .take(limit)
            .map(|registration| cancelled(registration, CancelReason::EventCancelled))
    }

    /// Returns `true` if `user` organizes the event.
    fn is_organized_by(&self, user: Uuid) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.organizer_id == user)
    }
}

fn cancelled(registration: &Registration, reason: CancelReason) -> RegistrationEvent {
    RegistrationCancelled {
        registration_id: registration.id,
        user_id: registration.user_id,
        reason,
        had_seat: registration.status.has_seat(),
    }
    .into()
}

fn roster_closed(event_sequence: i64, reason: RosterCloseReason) -> RegistrationEvent {
    RosterClosed { event_sequence, reason }.into()
}
