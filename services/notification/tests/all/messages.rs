//! Messages of the other services.

use std::time::Duration;

use contracts::{
    AnnouncementMade, CancelReason, Date, Details, EventCreated, EventEvent, EventRescheduled, NotificationCommand,
    RegistrationCancelled, RegistrationEvent, SeatConfirmed, SendPasswordResetMail, SendVerificationMail, Timestamp,
    UserCreated, UserDeactivated, UserEvent, UserProfile, UserProfileState,
};
use messaging::Outgoing;
use uuid::Uuid;

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

pub(crate) fn in_days(days: u64) -> Timestamp {
    now() + Duration::from_secs(days * 24 * 60 * 60)
}

pub(crate) fn signed_up(user: Uuid) -> Outgoing<UserEvent> {
    Outgoing::new(user, UserCreated { created_at: now() })
}

pub(crate) fn deactivated(user: Uuid) -> Outgoing<UserEvent> {
    let reason = "on request".to_owned();
    let deactivated_at = now();
    Outgoing::new(user, UserDeactivated { reason, deactivated_at })
}

/// Returns the profile of a user who wants all e-mails.
pub(crate) fn person(name: &str) -> UserProfile {
    UserProfile {
        email: format!("{}@example.org", name.to_lowercase()),
        username: name.to_lowercase(),
        full_name: name.to_owned(),
        date_of_birth: Date::parse("1990-12-10").expect("a date"),
        time_zone: "Europe/Berlin".to_owned(),
        email_verified: false,
        reminders: true,
        announcements: true,
    }
}

pub(crate) fn profile(user: Uuid, name: &str) -> Outgoing<UserProfileState> {
    Outgoing::new(user, person(name))
}

/// An event in the past.
pub(crate) fn created(event: Uuid, title: &str) -> Outgoing<EventEvent> {
    starting(event, title, at("2026-07-03T16:00:00Z"))
}

pub(crate) fn starting(event: Uuid, title: &str, starts_at: Timestamp) -> Outgoing<EventEvent> {
    let created = EventCreated {
        details: details(title, starts_at),
    };
    Outgoing::new(event, created)
}

pub(crate) fn rescheduled(event: Uuid, title: &str, from: Timestamp, to: Timestamp) -> Outgoing<EventEvent> {
    let rescheduled = EventRescheduled {
        details: details(title, to),
        previous_starts_at: from,
        previous_ends_at: from + Duration::from_secs(2 * 60 * 60),
    };
    Outgoing::new(event, rescheduled)
}

pub(crate) fn announced(event: Uuid, subject: &str, body: &str) -> Outgoing<EventEvent> {
    let announcement = AnnouncementMade {
        announcement_id: Uuid::now_v7(),
        organizer_id: Uuid::from_u128(1),
        subject: subject.to_owned(),
        body: body.to_owned(),
    };
    Outgoing::new(event, announcement)
}

fn details(title: &str, starts_at: Timestamp) -> Details {
    Details {
        organizer_id: Uuid::from_u128(1),
        title: title.to_owned(),
        description: "Bring a loom.".to_owned(),
        venue: "Royal Institution".to_owned(),
        starts_at,
        ends_at: starts_at + Duration::from_secs(2 * 60 * 60),
        time_zone: "Europe/London".to_owned(),
        capacity: 100,
        registration_opens_at: None,
        registration_closes_at: starts_at,
        waiting_list: true,
        staff: Vec::new(),
    }
}

pub(crate) fn confirmed(event: Uuid, user: Uuid) -> Outgoing<RegistrationEvent> {
    confirmed_as(Uuid::now_v7(), event, user)
}

pub(crate) fn confirmed_as(registration_id: Uuid, event: Uuid, user: Uuid) -> Outgoing<RegistrationEvent> {
    let confirmed = SeatConfirmed {
        registration_id,
        user_id: user,
    };
    Outgoing::new(event, confirmed)
}

pub(crate) fn cancelled(
    registration_id: Uuid,
    event: Uuid,
    user_id: Uuid,
    reason: CancelReason,
) -> Outgoing<RegistrationEvent> {
    let cancelled = RegistrationCancelled {
        registration_id,
        user_id,
        reason,
        had_seat: true,
    };
    Outgoing::new(event, cancelled)
}

pub(crate) fn verification(user_id: Uuid, expires_at: Timestamp) -> Outgoing<NotificationCommand> {
    let command = SendVerificationMail {
        user_id,
        nonce: Uuid::new_v4(),
        expires_at,
    };
    Outgoing::new(user_id, command)
}

pub(crate) fn password_reset(user_id: Uuid, expires_at: Timestamp) -> Outgoing<NotificationCommand> {
    let command = SendPasswordResetMail {
        user_id,
        nonce: Uuid::new_v4(),
        expires_at,
    };
    Outgoing::new(user_id, command)
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}
