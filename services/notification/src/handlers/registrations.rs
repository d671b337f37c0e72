use std::collections::{BTreeSet, HashMap};

use contracts::{
    AttendeeCheckedIn, CancelReason, NotificationKind, RegistrationCancelled, RegistrationEvent, SeatConfirmed,
    SeatPromoted, SeatWaitlisted, Timestamp,
};
use messaging::{Failure, Handler, Received, Unit};
use mongo::{Mongo, to_bson};
use mongodb::bson::{self, Document, doc};
use uuid::Uuid;

use crate::cause::{StoredCause, said_at};
use crate::copies::{Changes, Head, Place, REGISTRATIONS, time};
use crate::lane::Lanes;
use crate::mail::{Mail, queue};
use crate::mailing;
use crate::reminders::{Seat, remind};

/// `registrations`: who has a seat, waits, or is out; each is told, and reminded.
pub(crate) struct FollowRegistrations(pub(crate) Lanes);

impl Handler<Mongo> for FollowRegistrations {
    type Message = RegistrationEvent;

    async fn handle(
        &mut self,
        unit: &mut Unit<Mongo>,
        messages: &[&Received<RegistrationEvent>],
    ) -> Result<(), Failure> {
        let changes: Vec<_> = messages
            .iter()
            .filter_map(|message| Some((*message, change_of(&message.body)?)))
            .collect();
        let gained: BTreeSet<_> = changes
            .iter()
            .filter(|(_, change)| change.step.gains())
            .map(|(message, _)| message.envelope.key)
            .collect();
        let events: Vec<_> = gained.into_iter().collect();
        let heads = match events.is_empty() {
            true => HashMap::new(),
            false => Head::hold(unit.tx(), &events).await?,
        };

        let mut registrations = Changes::default();
        let mut mails = Vec::new();
        let mut late = Vec::new();
        for (message, change) in &changes {
            let (event, at) = (message.envelope.key, said_at(message));
            let Change {
                registration,
                user,
                step,
            } = *change;
            registrations.set(registration, doc! { "event": to_bson(event), "user": to_bson(user) });
            registrations.set(registration, step.fields(at));
            if let Some(kind) = step.mail() {
                mails.push(Mail::because_of(StoredCause::of(message), kind, user).about(event, registration));
            }
            let head = heads.get(&event).filter(|_| step.gains());
            if let Some(starts_at) = head.and_then(Head::coming_start).filter(|_| step.seats()) {
                let seat = Seat {
                    registration,
                    user,
                    event,
                };
                remind(unit, &message.cause(), &seat, starts_at)?;
            }
            if head.is_some_and(|head| head.last_told_at >= Some(at)) {
                late.push((event, at, *change));
            }
        }
        mails.extend(told_before(unit, &late).await?);
        registrations.write(unit.tx(), REGISTRATIONS).await?;
        queue::put(unit, &self.0, &mails).await?;
        Ok(())
    }
}

/// Mails of mailings that began here before these places were known, though they are older.
async fn told_before(unit: &mut Unit<Mongo>, late: &[(Uuid, bson::DateTime, Change)]) -> Result<Vec<Mail>, Failure> {
    let Some(earliest) = late.iter().map(|(_, at, _)| *at).min() else {
        return Ok(Vec::new());
    };
    let events: Vec<_> = late.iter().map(|(event, ..)| *event).collect();
    let mailings = mailing::since(unit.tx(), &events, earliest).await?;
    let mails = late.iter().flat_map(|(event, at, change)| {
        let placed_at = change.step.places().then_some(*at);
        let seated_at = change.step.seats().then_some(*at);
        mailings
            .iter()
            .filter(|mailing| mailing.event() == *event)
            .filter_map(move |mailing| mailing.mail(change.user, change.registration, placed_at, seated_at))
    });
    Ok(mails.collect())
}

/// What became of one person's registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    registration: Uuid,
    user: Uuid,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Confirmed,
    Waitlisted,
    Promoted,
    CheckedIn(Timestamp),
    Cancelled(CancelReason),
}

impl Step {
    /// Whether it is the registration's first place.
    fn places(self) -> bool {
        matches!(self, Self::Confirmed | Self::Waitlisted)
    }

    /// Whether it gives a seat.
    fn seats(self) -> bool {
        matches!(self, Self::Confirmed | Self::Promoted)
    }

    /// Whether the person has something that they had not before.
    fn gains(self) -> bool {
        self.places() || self.seats()
    }

    /// What the copy says from then on; `at` is when it was said.
    fn fields(self, at: bson::DateTime) -> Document {
        match self {
            Self::Confirmed => doc! { "state": Place::Confirmed.name(), "placed_at": at, "seated_at": at },
            Self::Waitlisted => doc! { "state": Place::Waiting.name(), "placed_at": at },
            Self::Promoted => doc! { "state": Place::Confirmed.name(), "seated_at": at },
            Self::CheckedIn(checked_in_at) => doc! { "checked_in_at": time(checked_in_at) },
            Self::Cancelled(_) => doc! { "state": Place::Cancelled.name() },
        }
    }

    fn mail(self) -> Option<NotificationKind> {
        match self {
            Self::Confirmed => Some(NotificationKind::SeatConfirmed),
            Self::Waitlisted => Some(NotificationKind::SeatWaitlisted),
            Self::Promoted => Some(NotificationKind::SeatPromoted),
            // Whoever is there knows it.
            Self::CheckedIn(_) => None,
            Self::Cancelled(CancelReason::ByAttendee | CancelReason::ByOrganizer | CancelReason::Unknown) => {
                Some(NotificationKind::RegistrationCancelled)
            }
            Self::Cancelled(CancelReason::EventCancelled) => Some(NotificationKind::EventCancelled),
            // Whoever closed the account is not written to any more.
            Self::Cancelled(CancelReason::UserDeactivated) => None,
        }
    }
}

fn change_of(event: &RegistrationEvent) -> Option<Change> {
    let (registration, user, step) = match event {
        RegistrationEvent::SeatConfirmed(SeatConfirmed {
            registration_id,
            user_id,
        }) => (registration_id, user_id, Step::Confirmed),
        RegistrationEvent::SeatWaitlisted(SeatWaitlisted {
            registration_id,
            user_id,
        }) => (registration_id, user_id, Step::Waitlisted),
        RegistrationEvent::SeatPromoted(SeatPromoted {
            registration_id,
            user_id,
        }) => (registration_id, user_id, Step::Promoted),
        RegistrationEvent::AttendeeCheckedIn(AttendeeCheckedIn {
            registration_id,
            user_id,
            checked_in_at,
        }) => (registration_id, user_id, Step::CheckedIn(*checked_in_at)),
        RegistrationEvent::RegistrationCancelled(RegistrationCancelled {
            registration_id,
            user_id,
            reason,
            ..
        }) => (registration_id, user_id, Step::Cancelled(*reason)),
        // Of the roster as a whole nobody is told.
        RegistrationEvent::RosterOpened(_)
        | RegistrationEvent::RosterChanged(_)
        | RegistrationEvent::RosterClosed(_) => {
            return None;
        }
    };
    Some(Change {
        registration: *registration,
        user: *user,
        step,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_registration_leads_to_one_mail_that_fits_its_reason() {
        let mail = |reason| Step::Cancelled(reason).mail();
        let own = Some(NotificationKind::RegistrationCancelled);
        assert_eq!(mail(CancelReason::ByAttendee), own);
        assert_eq!(mail(CancelReason::ByOrganizer), own);
        assert_eq!(mail(CancelReason::Unknown), own);
        assert_eq!(
            mail(CancelReason::EventCancelled),
            Some(NotificationKind::EventCancelled)
        );
        assert_eq!(mail(CancelReason::UserDeactivated), None);
    }

    #[test]
    fn seats_and_places_are_told_of() {
        assert_eq!(Step::Confirmed.mail(), Some(NotificationKind::SeatConfirmed));
        assert_eq!(Step::Waitlisted.mail(), Some(NotificationKind::SeatWaitlisted));
        assert_eq!(Step::Promoted.mail(), Some(NotificationKind::SeatPromoted));
        assert_eq!(Step::CheckedIn(Timestamp::EPOCH).mail(), None);
    }
}
