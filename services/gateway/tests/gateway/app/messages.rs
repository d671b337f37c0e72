//! Default requests of users, and default messages of other services.

use contracts::links::{Link, LinkKey, Purpose};
use contracts::{
    ChangeEvent, CommandAccepted, CommandFailed, CommandRejected, Details, Effect, EventCreated, EventPublished,
    FieldError, NotificationCommand, Reply, RosterOpened, Terms, Timestamp, Topic, UserProfile,
};
use messaging::Outgoing;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{LINK_KEY, PASSWORD};

pub(crate) fn sign_up(name: &str) -> Value {
    json!({
        "email": format!("{name}@example.org"),
        "username": name,
        "full_name": "Ada Lovelace",
        "date_of_birth": "1990-12-10",
        "password": PASSWORD,
        "time_zone": "Europe/London",
    })
}

pub(crate) fn draft() -> Value {
    json!({
        "title": "Analytical Engines",
        "description": "An *evening* with punched cards.",
        "venue": "Somerset House",
        "starts_at": "2099-03-01T18:00:00Z",
        "ends_at": "2099-03-01T21:00:00Z",
        "time_zone": "Europe/London",
        "capacity": 2,
        "registration_closes_at": "2099-03-01T12:00:00Z",
        "waiting_list": true,
    })
}

pub(crate) fn event_created(organizer: Uuid) -> EventCreated {
    let time = |text| Timestamp::parse(text).expect("a time");
    let details = Details {
        organizer_id: organizer,
        title: "Analytical Engines".to_owned(),
        description: "An *evening* with punched cards.".to_owned(),
        venue: "Somerset House".to_owned(),
        starts_at: time("2099-03-01T18:00:00Z"),
        ends_at: time("2099-03-01T21:00:00Z"),
        time_zone: "Europe/London".to_owned(),
        capacity: 2,
        registration_closes_at: time("2099-03-01T12:00:00Z"),
        waiting_list: true,
        registration_opens_at: None,
        staff: Vec::new(),
    };
    EventCreated { details }
}

pub(crate) fn event_published(organizer: Uuid) -> EventPublished {
    EventPublished {
        details: event_created(organizer).details,
    }
}

/// Applies a change to the default event.
pub(crate) fn changed(organizer: Uuid, change: &ChangeEvent) -> Details {
    let before = event_created(organizer).details;
    Details {
        title: change.title.clone().unwrap_or(before.title),
        description: change.description.clone().unwrap_or(before.description),
        venue: change.venue.clone().unwrap_or(before.venue),
        capacity: change.capacity.unwrap_or(before.capacity),
        registration_opens_at: change.registration_opens_at.or(before.registration_opens_at),
        waiting_list: change.waiting_list.unwrap_or(before.waiting_list),
        ..before
    }
}

pub(crate) fn effect(topic: &Topic, key: Uuid, sequence: i64) -> Effect {
    Effect {
        topic: topic.name.to_owned(),
        key,
        sequence,
    }
}

pub(crate) fn accepted(operation: Uuid, version: i64, effects: Vec<Effect>) -> Outgoing<Reply> {
    let accepted = CommandAccepted {
        command_id: operation,
        version,
        effects,
        result: None,
    };
    Outgoing::new(operation, accepted)
}

/// Creates a reply to a query, with its result.
pub(crate) fn replied(operation: Uuid, result: Value) -> Outgoing<Reply> {
    let accepted = CommandAccepted {
        command_id: operation,
        version: 0,
        effects: Vec::new(),
        result: Some(result.to_string()),
    };
    Outgoing::new(operation, accepted)
}

pub(crate) fn rejected(operation: Uuid, code: &str, errors: &[(&str, &str)]) -> Outgoing<Reply> {
    let errors = errors.iter().map(|(field, code)| FieldError {
        field: (*field).to_owned(),
        code: (*code).to_owned(),
        message: "The field is invalid.".to_owned(),
    });
    let rejected = CommandRejected {
        command_id: operation,
        code: code.to_owned(),
        detail: "The command was rejected.".to_owned(),
        errors: errors.collect(),
    };
    Outgoing::new(operation, rejected)
}

pub(crate) fn failed(operation: Uuid, code: &str) -> Outgoing<Reply> {
    let failed = CommandFailed {
        command_id: operation,
        code: code.to_owned(),
        detail: "The command could not be executed.".to_owned(),
    };
    Outgoing::new(operation, failed)
}

pub(crate) fn profile(email: &str, username: &str) -> UserProfile {
    UserProfile {
        email: email.to_owned(),
        username: username.to_owned(),
        full_name: "Ada Lovelace".to_owned(),
        date_of_birth: contracts::Date::from_ymd(1990, 12, 10).expect("a day"),
        time_zone: "Europe/London".to_owned(),
        email_verified: false,
        reminders: true,
        announcements: true,
    }
}

/// Returns the token of the link in this e-mail.
pub(crate) fn token(mail: &NotificationCommand, email: &str) -> String {
    let (purpose, user_id, nonce, expires_at) = match mail {
        NotificationCommand::SendVerificationMail(mail) => {
            (Purpose::VerifyEmail, mail.user_id, mail.nonce, mail.expires_at)
        }
        NotificationCommand::SendPasswordResetMail(mail) => {
            (Purpose::ResetPassword, mail.user_id, mail.nonce, mail.expires_at)
        }
        other => panic!("{other:?}"),
    };
    let link = Link {
        user_id,
        nonce,
        expires_at,
    };
    LinkKey::new(LINK_KEY).token(purpose, &link, email)
}

pub(crate) fn roster_opened(organizer_id: Uuid) -> RosterOpened {
    let details = event_created(organizer_id).details;
    RosterOpened {
        event_sequence: 2,
        terms: Terms {
            organizer_id,
            capacity: details.capacity,
            waiting_list: details.waiting_list,
            registration_closes_at: details.registration_closes_at,
            starts_at: details.starts_at,
            ends_at: details.ends_at,
            registration_opens_at: details.registration_opens_at,
            staff: details.staff,
        },
    }
}
