//! Queued e-mails. Each is a document that is inserted in the transaction of the message that caused it, and that the
//! [`Mailer`](crate::Mailer) processes. It contains no personal data, because the address is read when the e-mail is
//! sent.

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
use crate::mail_queue::MailQueue;

/// Collection of all e-mails, with their states.
pub const MAILS: &str = "mails";

/// Namespace of the ids of e-mails (UUID version 5, RFC 9562). The same cause and recipient give the same id, so a
/// redelivered message causes no second e-mail.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_2f6e_93d5_4f0a_8a57_0c1b_64d9_b7e3);

/// A queued e-mail and its state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mail {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    pub(crate) kind: NotificationKind,
    #[serde(rename = "lane")]
    mail_queue: MailQueue,
    user: bson::Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<bson::Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration: Option<bson::Uuid>,
    /// Only for a reminder: the start of the event that it was scheduled for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) starts_at: Option<bson::DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<StoredLink>,
    /// Minimum version of the profile, because the sender of the command has seen that version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profile_version: Option<i64>,
    cause: StoredCause,
    pub(crate) state: State,
    created_at: bson::DateTime,
    /// Time of the next attempt. While the e-mail is claimed, the time at which the claim expires.
    next_attempt_at: bson::DateTime,
    /// The reason why the e-mail was not sent, or not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Number of temporary rejections by a mail server.
    #[serde(default)]
    pub(crate) refusals: u32,
    /// Number of attempts at which data was missing.
    #[serde(default)]
    pub(crate) waits: u32,
    /// Time of the first unsuccessful attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    tried_since: Option<bson::DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_at: Option<bson::DateTime>,
    /// Id of the claim. A different id means that another process has claimed the e-mail since.
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<bson::Uuid>,
}

/// The content of a link's token. The token itself is created when the e-mail is rendered, and never stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredLink {
    nonce: bson::Uuid,
    /// In microseconds since 1970, because the token is signed with this precision.
    expires_at: i64,
}

/// The state of an e-mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Pending,
    Sent,
    Failed,
    /// The e-mail was outdated or no longer wanted when it was to be sent.
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
    /// Creates the e-mail of `kind` to `user` that a message causes.
    pub(crate) fn new(cause: StoredCause, kind: NotificationKind, user: Uuid) -> Self {
        Self {
            id: to_bson(mail_id(cause.id(), user)),
            kind,
            mail_queue: MailQueue::of(kind),
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

    /// Creates a reminder. Its id depends only on the registration and the start, so there is one reminder for both, however
    /// many commands request it.
    pub(crate) fn reminder(cause: StoredCause, command: &SendReminder) -> Self {
        let mut mail = Self::new(cause, NotificationKind::Reminder, command.user_id)
            .for_registration(command.event_id, command.registration_id);
        mail.id = to_bson(reminder_id(command.registration_id, command.starts_at));
        mail.starts_at = Some(time(command.starts_at));
        mail
    }

    pub(crate) fn for_registration(mut self, event: Uuid, registration: Uuid) -> Self {
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

    /// Requires at least this version of the profile, because an older one may contain a different address.
    pub(crate) fn require_profile_version(mut self, profile_version: Option<i64>) -> Self {
        self.profile_version = profile_version;
        self
    }

    pub(crate) fn id(&self) -> Uuid {
        from_bson(self.id)
    }

    pub(crate) fn user(&self) -> Uuid {
        from_bson(self.user)
    }

    /// Returns the name of the kind for metrics, logs and spans.
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

    /// Returns the event that the e-mail is about.
    pub(crate) fn event(&self) -> Option<Uuid> {
        self.event.map(from_bson)
    }

    /// Returns the recipient's registration for that event.
    pub(crate) fn registration(&self) -> Option<Uuid> {
        self.registration.map(from_bson)
    }

    /// Returns `true` if e-mails of this kind go to all attendees of an event, and are of no use to a person whose
    /// registration has ended.
    pub(crate) fn is_broadcast(&self) -> bool {
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

    /// Returns the content of the link's token.
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

    /// Returns the trace context that the e-mail's span continues.
    pub(crate) fn trace(&self) -> Context {
        self.cause.trace()
    }

    /// Returns the cause for messages that are published about the e-mail. `trace` is the e-mail's span.
    pub(crate) fn cause(&self, trace: Context) -> Cause {
        self.cause.to_cause(trace)
    }

    /// Returns the time of the claim by the database's clock.
    pub(crate) fn claimed_at(&self) -> bson::DateTime {
        self.claimed_at.unwrap_or(self.next_attempt_at)
    }

    /// Returns the filter that finds the e-mail unless another process has claimed it since.
    pub(crate) fn claimed_filter(&self) -> Document {
        doc! { "_id": self.id, "state": State::Pending.name(), "claim": self.claim }
    }

    /// Returns the filter that finds the e-mail while it is pending.
    pub(crate) fn pending_filter(&self) -> Document {
        doc! { "_id": self.id, "state": State::Pending.name() }
    }

    /// Returns the time from the cause of the e-mail to its claim.
    pub(crate) fn age(&self) -> Duration {
        self.claimed_at().saturating_duration_since(self.created_at)
    }

    /// Returns the time of the first attempt. Time in which no process could try to send the e-mail does not count.
    pub(crate) fn tried_since(&self) -> bson::DateTime {
        self.tried_since.unwrap_or_else(|| self.claimed_at())
    }

    /// Returns the time from the first attempt to the claim.
    pub(crate) fn tried_for(&self) -> Duration {
        self.claimed_at().saturating_duration_since(self.tried_since())
    }
}

/// Returns the id of an e-mail, which is its notification id, its document id and the local part of its Message-ID.
pub fn mail_id(cause: Uuid, recipient: Uuid) -> Uuid {
    derived_id([*cause.as_bytes(), *recipient.as_bytes()])
}

/// Returns the id of the reminder for a registration and a start.
pub fn reminder_id(registration: Uuid, starts_at: Timestamp) -> Uuid {
    // BSON times have a precision of milliseconds.
    let millis = i128::from(time(starts_at).timestamp_millis());
    derived_id([*registration.as_bytes(), millis.to_be_bytes()])
}

fn derived_id(parts: [[u8; 16]; 2]) -> Uuid {
    Uuid::new_v5(&NAMESPACE, parts.as_flattened())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_and_one_recipient_give_one_mail() {
        let (cause, ada, bob) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        assert_eq!(mail_id(cause, ada), mail_id(cause, ada));
        assert_ne!(mail_id(cause, ada), mail_id(cause, bob));
        assert_ne!(mail_id(cause, ada), mail_id(ada, cause));
        // The ids of e-mails that earlier versions stored must not change.
        assert_eq!(mail_id(cause, ada).get_version_num(), 5);
    }

    #[test]
    fn one_registration_and_one_start_give_one_reminder() {
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let start = Timestamp::parse("2030-07-03T16:00:00Z").expect("a valid time");
        let later = start + Duration::from_secs(60);
        assert_eq!(reminder_id(first, start), reminder_id(first, start));
        assert_ne!(reminder_id(first, start), reminder_id(first, later));
        assert_ne!(reminder_id(first, start), reminder_id(second, start));
    }
}
