//! Mails to send: a document each, written in the transaction of the message that caused it, and worked
//! off by the [`Mailer`](crate::Mailer). No personal data in it: the address is read when it is sent.

pub(crate) mod queue;

use std::time::Duration;

use contracts::links::Link;
use contracts::{NotificationKind, SendReminder, Timestamp};
use messaging::Cause;
use mongo::{from_bson, to_bson};
use mongodb::bson::{self, Document, doc};
use opentelemetry::Context;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cause::StoredCause;
use crate::copies::time;
use crate::lane::Lane;

pub const MAILS: &str = "mails";

/// Version 5 of RFC 9562: the same cause and recipient give the same mail, whatever is delivered again.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_2f6e_93d5_4f0a_8a57_0c1b_64d9_b7e3);

/// A mail that was decided on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mail {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    pub(crate) kind: NotificationKind,
    lane: Lane,
    user: bson::Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<bson::Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration: Option<bson::Uuid>,
    /// Of a reminder: the start that it reminds of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) starts_at: Option<bson::DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<StoredLink>,
    /// The oldest profile that will do: whoever asked for the mail has seen that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profile_version: Option<i64>,
    cause: StoredCause,
    pub(crate) state: State,
    created_at: bson::DateTime,
    /// When it is to be tried; while it is claimed, when the claim ends.
    next_attempt_at: bson::DateTime,
    /// Why it was not sent, or not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// How often a mail server refused it for the time being.
    #[serde(default)]
    pub(crate) refusals: u32,
    /// How often something was missing.
    #[serde(default)]
    pub(crate) waits: u32,
    /// When the first attempt was made of which nothing came.
    #[serde(skip_serializing_if = "Option::is_none")]
    tried_since: Option<bson::DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_at: Option<bson::DateTime>,
    /// Names the claim: another one has taken over where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<bson::Uuid>,
}

/// What a link's token is made of when the mail is written. The token itself is never stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredLink {
    nonce: bson::Uuid,
    /// In microseconds since 1970: the token is signed over all of them.
    expires_at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Pending,
    Sent,
    Failed,
    /// Not true or not wanted any more when it was to be sent.
    Dropped,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

impl Mail {
    /// The mail of `kind` to `user` that a cause leads to.
    pub(crate) fn because_of(cause: StoredCause, kind: NotificationKind, user: Uuid) -> Self {
        Self {
            id: to_bson(id_of(cause.id(), user)),
            kind,
            lane: Lane::of(kind),
            user: to_bson(user),
            event: None,
            registration: None,
            starts_at: None,
            link: None,
            profile_version: None,
            state: State::Pending,
            created_at: cause.at,
            next_attempt_at: cause.at,
            cause,
            reason: None,
            refusals: 0,
            waits: 0,
            tried_since: None,
            claimed_at: None,
            claim: None,
        }
    }

    /// One a registration and start, however often it is asked for.
    pub(crate) fn reminder(cause: StoredCause, asked: &SendReminder) -> Self {
        let mut mail = Self::because_of(cause, NotificationKind::Reminder, asked.user_id)
            .about(asked.event_id, asked.registration_id);
        mail.id = to_bson(reminder_id(asked.registration_id, asked.starts_at));
        mail.starts_at = Some(time(asked.starts_at));
        mail
    }

    pub(crate) fn about(mut self, event: Uuid, registration: Uuid) -> Self {
        self.event = Some(to_bson(event));
        self.registration = Some(to_bson(registration));
        self
    }

    pub(crate) fn with_link(mut self, nonce: Uuid, expires_at: Timestamp) -> Self {
        self.link = Some(StoredLink {
            nonce: to_bson(nonce),
            expires_at: expires_at.as_micros(),
        });
        self
    }

    /// Not to be sent by an older profile: its address may be another one.
    pub(crate) fn not_before(mut self, profile_version: Option<i64>) -> Self {
        self.profile_version = profile_version;
        self
    }

    pub(crate) fn id(&self) -> Uuid {
        from_bson(self.id)
    }

    pub(crate) fn user(&self) -> Uuid {
        from_bson(self.user)
    }

    /// For metrics and spans.
    pub(crate) fn label(&self) -> &'static str {
        match self.kind {
            NotificationKind::Welcome => "welcome",
            NotificationKind::SeatConfirmed => "seat_confirmed",
            NotificationKind::SeatWaitlisted => "seat_waitlisted",
            NotificationKind::SeatPromoted => "seat_promoted",
            NotificationKind::RegistrationCancelled => "registration_cancelled",
            NotificationKind::EventCancelled => "event_cancelled",
            NotificationKind::EventRescheduled => "event_rescheduled",
            NotificationKind::Reminder => "reminder",
            NotificationKind::Announcement => "announcement",
            NotificationKind::EmailVerification => "email_verification",
            NotificationKind::PasswordReset => "password_reset",
            NotificationKind::Unknown => "unknown",
        }
    }

    /// The event that it tells of.
    pub(crate) fn event(&self) -> Option<Uuid> {
        self.event.map(from_bson)
    }

    /// The recipient's registration for that event.
    pub(crate) fn registration(&self) -> Option<Uuid> {
        self.registration.map(from_bson)
    }

    /// Whether it says what everybody at the event is told, and is of no use to who has no place there any more.
    pub(crate) fn is_to_many(&self) -> bool {
        match self.kind {
            NotificationKind::EventRescheduled | NotificationKind::Reminder | NotificationKind::Announcement => true,
            NotificationKind::Welcome
            | NotificationKind::SeatConfirmed
            | NotificationKind::SeatWaitlisted
            | NotificationKind::SeatPromoted
            | NotificationKind::RegistrationCancelled
            | NotificationKind::EventCancelled
            | NotificationKind::EmailVerification
            | NotificationKind::PasswordReset
            | NotificationKind::Unknown => false,
        }
    }

    /// What the token of its link says.
    pub(crate) fn link(&self) -> Option<Link> {
        let StoredLink { nonce, expires_at } = self.link.as_ref()?;
        Some(Link {
            user_id: self.user(),
            nonce: from_bson(*nonce),
            expires_at: Timestamp::from_micros(*expires_at).ok()?,
        })
    }

    pub(crate) fn cause_id(&self) -> Uuid {
        self.cause.id()
    }

    /// The span that the mail's own continues.
    pub(crate) fn trace(&self) -> Context {
        self.cause.trace()
    }

    /// What is said because of the mail; `trace` is its span.
    pub(crate) fn cause(&self, trace: Context) -> Cause {
        self.cause.to_cause(trace)
    }

    /// The database's time when the mail was claimed.
    pub(crate) fn claimed_at(&self) -> bson::DateTime {
        self.claimed_at.unwrap_or(self.next_attempt_at)
    }

    /// Finds it as long as nobody else has claimed it since.
    pub(crate) fn while_claimed(&self) -> Document {
        doc! { "_id": self.id, "state": State::Pending.name(), "claim": self.claim }
    }

    /// Finds it as long as nothing has become of it.
    pub(crate) fn while_pending(&self) -> Document {
        doc! { "_id": self.id, "state": State::Pending.name() }
    }

    /// How long after its cause it was claimed.
    pub(crate) fn age(&self) -> Duration {
        self.claimed_at().saturating_duration_since(self.created_at)
    }

    /// Since when it has been tried: time in which nobody could try it does not count.
    pub(crate) fn tried_since(&self) -> bson::DateTime {
        self.tried_since.unwrap_or_else(|| self.claimed_at())
    }

    /// For how long it had been tried when it was claimed.
    pub(crate) fn tried_for(&self) -> Duration {
        self.claimed_at().saturating_duration_since(self.tried_since())
    }
}

/// A mail's id: notification id, document id, Message-ID.
pub fn id_of(cause: Uuid, recipient: Uuid) -> Uuid {
    named([*cause.as_bytes(), *recipient.as_bytes()])
}

/// The id of the reminder of one start, to who has this registration.
pub fn reminder_id(registration: Uuid, starts_at: Timestamp) -> Uuid {
    // What the store keeps of the time.
    let millis = i128::from(time(starts_at).timestamp_millis());
    named([*registration.as_bytes(), millis.to_be_bytes()])
}

fn named(parts: [[u8; 16]; 2]) -> Uuid {
    Uuid::new_v5(&NAMESPACE, parts.as_flattened())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_and_recipient_are_one_mail() {
        let (cause, ada, bob) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        assert_eq!(id_of(cause, ada), id_of(cause, ada));
        assert_ne!(id_of(cause, ada), id_of(cause, bob));
        assert_ne!(id_of(cause, ada), id_of(ada, cause));
        // Mails of earlier versions must be found again.
        assert_eq!(id_of(cause, ada).get_version_num(), 5);
    }

    #[test]
    fn one_registration_and_start_are_one_reminder() {
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let start = Timestamp::parse("2030-07-03T16:00:00Z").expect("a time");
        let later = start + Duration::from_secs(60);
        assert_eq!(reminder_id(first, start), reminder_id(first, start));
        assert_ne!(reminder_id(first, start), reminder_id(first, later));
        assert_ne!(reminder_id(first, start), reminder_id(second, start));
    }
}
