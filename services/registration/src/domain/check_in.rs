use std::time::Duration;

use contracts::{AttendeeCheckedIn, CheckIn, Command, RegistrationCommand, RegistrationEvent};

use super::{Phase, Place, Rejection, Roster, Seating};

/// How long before the start people can be checked in.
const OPENS_BEFORE: Duration = Duration::from_secs(2 * 60 * 60);

impl Roster {
    /// Counts by when it was said: who stood at the door in time is not turned away by a slow wire.
    pub(super) fn check_in(
        &self,
        seating: &Seating,
        command: &Command<RegistrationCommand>,
        check_in: &CheckIn,
    ) -> Result<Vec<RegistrationEvent>, Rejection> {
        let found = seating
            .find(check_in.registration_id)
            .filter(|found| found.event_id == command.key);
        let (Some(registration), Some(terms), Some(actor)) = (found, &self.terms, &command.actor) else {
            return Err(Rejection::RegistrationUnheard);
        };
        let is_staff = actor.user().is_some_and(|user| terms.staff.contains(&user));
        if !is_staff && !actor.may_act_for(terms.organizer_id) {
            // To its attendee it is no secret. Anybody else may have been named just now.
            let own = actor.may_act_for(registration.user_id);
            return Err(if own {
                Rejection::Forbidden
            } else {
                Rejection::RegistrationUnheard
            });
        }
        if self.phase == Phase::Cancelled {
            return Err(Rejection::EventCancelled);
        }
        match registration.place {
            Place::Seat => {}
            Place::Waiting => return Err(Rejection::NoSeat),
            Place::CheckedIn => return Err(Rejection::AlreadyCheckedIn),
            Place::Cancelled => return Err(Rejection::RegistrationCancelled),
        }
        if command.time < terms.starts_at - OPENS_BEFORE {
            return Err(Rejection::CheckInNotOpen);
        }
        if terms.ends_at <= command.time {
            return Err(Rejection::CheckInOver);
        }
        Ok(vec![
            AttendeeCheckedIn {
                registration_id: registration.id,
                user_id: registration.user_id,
                checked_in_at: command.time,
            }
            .into(),
        ])
    }
}
