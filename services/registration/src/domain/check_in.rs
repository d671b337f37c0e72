use std::time::Duration;

use contracts::{AttendeeCheckedIn, CheckIn, Command, RegistrationCommand, RegistrationEvent};

use super::{Phase, RegistrationStatus, Rejection, Roster, Seating};

/// Time between the opening of check-in and the start of the event.
const OPENS_BEFORE: Duration = Duration::from_secs(2 * 60 * 60);

impl Roster {
    /// Checks in the attendee of a registration.
    ///
    /// The command's own time decides, so an attendee who arrived in time is not rejected because the command was
    /// delayed.
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
            return Err(Rejection::RegistrationNotReceived);
        };
        let is_staff = actor.user().is_some_and(|user| terms.staff.contains(&user));
        if !is_staff && !actor.may_act_for(terms.organizer_id) {
            // The attendee knows the registration. Any other user may have been named as staff a moment ago.
            let own = actor.may_act_for(registration.user_id);
            return Err(if own {
                Rejection::Forbidden
            } else {
                Rejection::RegistrationNotReceived
            });
        }
        if self.phase == Phase::Cancelled {
            return Err(Rejection::EventCancelled);
        }
        match registration.status {
            RegistrationStatus::Confirmed => {}
            RegistrationStatus::Waitlisted => return Err(Rejection::NoSeat),
            RegistrationStatus::CheckedIn => return Err(Rejection::AlreadyCheckedIn),
            RegistrationStatus::Cancelled => return Err(Rejection::RegistrationCancelled),
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
