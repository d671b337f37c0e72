use std::collections::{BTreeSet, HashMap};

use contracts::{
    AttendeeCheckedIn, CancelReason, NotificationKind, RegistrationCancelled, RegistrationEvent, SeatConfirmed,
    SeatPromoted, SeatWaitlisted, Timestamp,
};
use messaging::{Failure, Handler, Received, Unit};
use mongo::{Mongo, to_bson};
use mongodb::bson::{self, Document, doc};
use uuid::Uuid;

use crate::cause::{StoredCause, published_at};
use crate::copies::{Changes, EventSummary, REGISTRATIONS, RegistrationState, time};
use crate::mail::{Mail, queue};
use crate::mail_queue::MailQueues;
use crate::mailing;
use crate::reminders::{Seat, schedule_reminder};

/// Handles `registrations`: stores the state of registrations, enqueues an e-mail for each change, and schedules
/// reminders.
pub(crate) struct FollowRegistrations(pub(crate) MailQueues);

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
            .filter(|(_, change)| change.step.is_gain())
            .map(|(message, _)| message.envelope.key)
            .collect();
        let events: Vec<_> = gained.into_iter().collect();
        let summaries = if events.is_empty() {
            HashMap::new()
        } else {
            EventSummary::lock(unit.tx(), &events).await?
        };

        let mut registrations = Changes::default();
        let mut mails = Vec::new();
        let mut late = Vec::new();
        for (message, change) in &changes {
            let (event, at) = (message.envelope.key, published_at(message));
            let Change {
                registration,
                user,
                step,
            } = *change;
            registrations.set(registration, doc! { "event": to_bson(event), "user": to_bson(user) });
            registrations.set(registration, step.fields(at));
            if let Some(kind) = step.mail() {
                mails.push(Mail::new(StoredCause::of(message), kind, user).for_registration(event, registration));
            }
            let summary = summaries.get(&event).filter(|_| step.is_gain());
            if let Some(starts_at) = summary
                .and_then(EventSummary::upcoming_start)
                .filter(|_| step.grants_seat())
            {
                let seat = Seat {
                    registration,
                    user,
                    event,
                };
                schedule_reminder(unit, &message.cause(), &seat, starts_at)?;
            }
            if summary.is_some_and(|summary| summary.last_mailing_at >= Some(at)) {
                late.push((event, at, *change));
            }
        }
        mails.extend(mails_of_earlier_mailings(unit, &late).await?);
        registrations.write(unit.tx(), REGISTRATIONS).await?;
        queue::enqueue(unit, &self.0, &mails).await?;
        Ok(())
    }
}

/// Returns the e-mails of mailings that started here before these registrations were known, although the registrations
/// are older.
async fn mails_of_earlier_mailings(
    unit: &mut Unit<Mongo>,
    late: &[(Uuid, bson::DateTime, Change)],
) -> Result<Vec<Mail>, Failure> {
    let Some(earliest) = late.iter().map(|(_, at, _)| *at).min() else {
        return Ok(Vec::new());
    };
    let events: Vec<_> = late.iter().map(|(event, ..)| *event).collect();
    let mailings = mailing::find_since(unit.tx(), &events, earliest).await?;
    let mails = late.iter().flat_map(|(event, at, change)| {
        let placed_at = change.step.is_registration().then_some(*at);
        let seated_at = change.step.grants_seat().then_some(*at);
        mailings
            .iter()
            .filter(|mailing| mailing.event() == *event)
            .filter_map(move |mailing| mailing.mail_for(change.user, change.registration, placed_at, seated_at))
    });
    Ok(mails.collect())
}

/// A change of one registration.
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
    /// Returns `true` if the step starts the registration, with a seat or on the waiting list.
    fn is_registration(self) -> bool {
        matches!(self, Self::Confirmed | Self::Waitlisted)
    }

    /// Returns `true` if the step gives the user a seat.
    fn grants_seat(self) -> bool {
        matches!(self, Self::Confirmed | Self::Promoted)
    }

    /// Returns `true` if the user gets a seat or a place on the waiting list.
    fn is_gain(self) -> bool {
        self.is_registration() || self.grants_seat()
    }

    /// Returns the fields of the copy that change. `at` is the time of the message.
    fn fields(self, at: bson::DateTime) -> Document {
        match self {
            Self::Confirmed => doc! { "state": RegistrationState::Confirmed.name(), "placed_at": at, "seated_at": at },
            Self::Waitlisted => doc! { "state": RegistrationState::Waiting.name(), "placed_at": at },
            Self::Promoted => doc! { "state": RegistrationState::Confirmed.name(), "seated_at": at },
            Self::CheckedIn(checked_in_at) => doc! { "checked_in_at": time(checked_in_at) },
            Self::Cancelled(_) => doc! { "state": RegistrationState::Cancelled.name() },
        }
    }

    /// Returns the kind of the e-mail that the step causes, if any.
    fn mail(self) -> Option<NotificationKind> {
        match self {
            Self::Confirmed => Some(NotificationKind::SeatConfirmed),
            Self::Waitlisted => Some(NotificationKind::SeatWaitlisted),
            Self::Promoted => Some(NotificationKind::SeatPromoted),
            // An attendee who has checked in needs no e-mail about it.
            Self::CheckedIn(_) => None,
            Self::Cancelled(CancelReason::ByAttendee | CancelReason::ByOrganizer | CancelReason::Unknown) => {
                Some(NotificationKind::RegistrationCancelled)
            }
            Self::Cancelled(CancelReason::EventCancelled) => Some(NotificationKind::EventCancelled),
            // A user who closed their account gets no more e-mails.
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
        // Changes of the roster as a whole cause no e-mail.
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
    fn a_cancelled_registration_causes_the_mail_for_its_reason() {
        let mail = |reason| Step::Cancelled(reason).mail();
        let cancelled = Some(NotificationKind::RegistrationCancelled);
        assert_eq!(mail(CancelReason::ByAttendee), cancelled);
        assert_eq!(mail(CancelReason::ByOrganizer), cancelled);
        assert_eq!(mail(CancelReason::Unknown), cancelled);
        assert_eq!(
            mail(CancelReason::EventCancelled),
            Some(NotificationKind::EventCancelled)
        );
        assert_eq!(mail(CancelReason::UserDeactivated), None);
    }

    #[test]
    fn seats_and_waiting_list_places_cause_a_mail() {
        assert_eq!(Step::Confirmed.mail(), Some(NotificationKind::SeatConfirmed));
        assert_eq!(Step::Waitlisted.mail(), Some(NotificationKind::SeatWaitlisted));
        assert_eq!(Step::Promoted.mail(), Some(NotificationKind::SeatPromoted));
        assert_eq!(Step::CheckedIn(Timestamp::EPOCH).mail(), None);
    }
}
