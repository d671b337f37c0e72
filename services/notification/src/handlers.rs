//! What this service does with other services' messages: it keeps copies, and decides on mails.

use contracts::{
    CancelReason, EventCancelled, EventCreated, EventEnded, EventEvent, EventPublished, NotificationKind,
    RegistrationCancelled, RegistrationEvent, SeatConfirmed, SeatPromoted, SeatWaitlisted, UserCreated,
    UserDeactivated, UserEvent, UserProfileState,
};
use messaging::{Failure, Handler, Received, Unit};
use mongo::{Mongo, to_bson};
use mongodb::bson::doc;
use uuid::Uuid;

use crate::copies::{Changes, EVENTS, MEMBERS, PROFILES, REGISTRATIONS, time};
use crate::mail::{Lanes, Mail, Missing, arrived, queue};

/// `users`: whose account is open; a new one is welcomed.
pub(crate) struct FollowUsers(pub(crate) Lanes);

impl Handler<Mongo> for FollowUsers {
    type Message = UserEvent;

    async fn handle(&mut self, unit: &mut Unit<Mongo>, messages: &[&Received<UserEvent>]) -> Result<(), Failure> {
        let mut members = Changes::default();
        let mut mails = Vec::new();
        for message in messages {
            let user = message.envelope.key;
            match &message.body {
                UserEvent::UserCreated(UserCreated { created_at }) => {
                    members.set(user, doc! { "active": true, "created_at": time(*created_at) });
                    mails.push(Mail::because_of(message, NotificationKind::Welcome, user));
                }
                UserEvent::UserDeactivated(UserDeactivated { deactivated_at, .. }) => {
                    members.set(user, doc! { "active": false, "deactivated_at": time(*deactivated_at) });
                }
            }
        }
        members.write(unit.tx(), MEMBERS).await?;
        queue(unit, &self.0, mails).await?;
        Ok(())
    }
}

/// `users.profiles`: where and how to write to a user.
pub(crate) struct FollowProfiles(pub(crate) Lanes);

impl Handler<Mongo> for FollowProfiles {
    type Message = UserProfileState;

    async fn handle(
        &mut self,
        unit: &mut Unit<Mongo>,
        messages: &[&Received<UserProfileState>],
    ) -> Result<(), Failure> {
        let mut profiles = Changes::default();
        for message in messages {
            let UserProfileState::UserProfile(profile) = &message.body;
            profiles.set(
                message.envelope.key,
                doc! { "email": &profile.email, "full_name": &profile.full_name, "time_zone": &profile.time_zone },
            );
        }
        let users = profiles.ids();
        profiles.write(unit.tx(), PROFILES).await?;
        arrived(unit, &self.0, Missing::Profile, &users).await?;
        Ok(())
    }
}

/// `events`: what mails tell of an event.
pub(crate) struct FollowEvents(pub(crate) Lanes);

impl Handler<Mongo> for FollowEvents {
    type Message = EventEvent;

    async fn handle(&mut self, unit: &mut Unit<Mongo>, messages: &[&Received<EventEvent>]) -> Result<(), Failure> {
        let mut events = Changes::default();
        for message in messages {
            let event = message.envelope.key;
            match &message.body {
                EventEvent::EventCreated(EventCreated {
                    organizer_id,
                    title,
                    venue,
                    starts_at,
                    ends_at,
                    time_zone,
                    ..
                })
                | EventEvent::EventPublished(EventPublished {
                    organizer_id,
                    title,
                    venue,
                    starts_at,
                    ends_at,
                    time_zone,
                    ..
                }) => events.set(
                    event,
                    doc! {
                        "organizer": to_bson(*organizer_id),
                        "title": title,
                        "venue": venue,
                        "starts_at": time(*starts_at),
                        "ends_at": time(*ends_at),
                        "time_zone": time_zone,
                    },
                ),
                EventEvent::EventCancelled(EventCancelled { reason, cancelled_at }) => {
                    events.set(
                        event,
                        doc! { "cancel_reason": reason, "cancelled_at": time(*cancelled_at) },
                    );
                }
                EventEvent::EventEnded(EventEnded { ended_at }) => {
                    events.set(event, doc! { "ended_at": time(*ended_at) });
                }
            }
        }
        let ids = events.ids();
        events.write(unit.tx(), EVENTS).await?;
        arrived(unit, &self.0, Missing::Event, &ids).await?;
        Ok(())
    }
}

/// `registrations`: who has a seat, waits, or is out; each is told.
pub(crate) struct FollowRegistrations(pub(crate) Lanes);

impl Handler<Mongo> for FollowRegistrations {
    type Message = RegistrationEvent;

    async fn handle(
        &mut self,
        unit: &mut Unit<Mongo>,
        messages: &[&Received<RegistrationEvent>],
    ) -> Result<(), Failure> {
        let mut registrations = Changes::default();
        let mut mails = Vec::new();
        for message in messages {
            let Some(change) = change_of(&message.body) else {
                continue;
            };
            let event = message.envelope.key;
            registrations.set(
                change.registration,
                doc! { "event": to_bson(event), "user": to_bson(change.user), "state": change.state },
            );
            if let Some(kind) = change.mail {
                mails.push(Mail::because_of(message, kind, change.user).about(event, change.registration));
            }
        }
        registrations.write(unit.tx(), REGISTRATIONS).await?;
        queue(unit, &self.0, mails).await?;
        Ok(())
    }
}

/// What became of one person's registration, and the mail that tells of it.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    registration: Uuid,
    user: Uuid,
    state: &'static str,
    mail: Option<NotificationKind>,
}

fn change_of(event: &RegistrationEvent) -> Option<Change> {
    let (registration, user, state, mail) = match event {
        RegistrationEvent::SeatConfirmed(SeatConfirmed {
            registration_id,
            user_id,
        }) => (
            registration_id,
            user_id,
            "confirmed",
            Some(NotificationKind::SeatConfirmed),
        ),
        RegistrationEvent::SeatWaitlisted(SeatWaitlisted {
            registration_id,
            user_id,
        }) => (
            registration_id,
            user_id,
            "waiting",
            Some(NotificationKind::SeatWaitlisted),
        ),
        RegistrationEvent::SeatPromoted(SeatPromoted {
            registration_id,
            user_id,
        }) => (
            registration_id,
            user_id,
            "confirmed",
            Some(NotificationKind::SeatPromoted),
        ),
        RegistrationEvent::RegistrationCancelled(RegistrationCancelled {
            registration_id,
            user_id,
            reason,
            ..
        }) => (registration_id, user_id, "cancelled", mail_of(*reason)),
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
        state,
        mail,
    })
}

fn mail_of(reason: CancelReason) -> Option<NotificationKind> {
    match reason {
        CancelReason::ByAttendee | CancelReason::ByOrganizer | CancelReason::Unknown => {
            Some(NotificationKind::RegistrationCancelled)
        }
        CancelReason::EventCancelled => Some(NotificationKind::EventCancelled),
        // Whoever closed the account is not written to any more.
        CancelReason::UserDeactivated => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(event: impl Into<RegistrationEvent>) -> Option<NotificationKind> {
        change_of(&event.into()).and_then(|change| change.mail)
    }

    fn cancelled(reason: CancelReason) -> RegistrationCancelled {
        RegistrationCancelled {
            registration_id: Uuid::from_u128(1),
            user_id: Uuid::from_u128(2),
            reason,
            had_seat: true,
        }
    }

    #[test]
    fn a_cancelled_registration_leads_to_one_mail_that_fits_its_reason() {
        let own = Some(NotificationKind::RegistrationCancelled);
        assert_eq!(mail(cancelled(CancelReason::ByAttendee)), own);
        assert_eq!(mail(cancelled(CancelReason::ByOrganizer)), own);
        assert_eq!(mail(cancelled(CancelReason::Unknown)), own);
        assert_eq!(
            mail(cancelled(CancelReason::EventCancelled)),
            Some(NotificationKind::EventCancelled)
        );
        assert_eq!(mail(cancelled(CancelReason::UserDeactivated)), None);
    }

    #[test]
    fn seats_and_places_are_told_of() {
        let (registration_id, user_id) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let confirmed = SeatConfirmed {
            registration_id,
            user_id,
        };
        let waitlisted = SeatWaitlisted {
            registration_id,
            user_id,
        };
        let promoted = SeatPromoted {
            registration_id,
            user_id,
        };
        assert_eq!(mail(confirmed), Some(NotificationKind::SeatConfirmed));
        assert_eq!(mail(waitlisted), Some(NotificationKind::SeatWaitlisted));
        assert_eq!(mail(promoted), Some(NotificationKind::SeatPromoted));
    }
}
