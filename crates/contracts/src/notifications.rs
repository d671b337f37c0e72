//! E-mails to users: the topics `notifications` (delivered or given up) and `notifications.commands`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Timestamp, message::topic};

topic! {
    /// What became of one e-mail.
    pub NotificationFact on NOTIFICATIONS in "notifications" as "rollcall.notifications" {
        NotificationSent,
        NotificationFailed,
    }
}

topic! {
    /// A request to write to somebody.
    pub NotificationCommand on NOTIFICATIONS_COMMANDS in "notifications.commands" as "rollcall.notifications.commands" {
        SendReminder,
        SendVerificationMail,
        SendPasswordResetMail,
        ContinueMailing,
    }
}

/// Remind a person of an event, unless that is no longer true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendReminder {
    pub registration_id: Uuid,
    pub user_id: Uuid,
    pub event_id: Uuid,
    /// When the event begins, as far as known when this was said; another time by now drops the reminder.
    pub starts_at: Timestamp,
}

/// Mail the user a link that shows that the address is theirs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendVerificationMail {
    pub user_id: Uuid,
    /// What makes the link's token one of its own; worthless without the key.
    pub nonce: Uuid,
    pub expires_at: Timestamp,
}

/// Mail the user a link that sets a new password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendPasswordResetMail {
    pub user_id: Uuid,
    /// What makes the link's token one of its own; worthless without the key.
    pub nonce: Uuid,
    pub expires_at: Timestamp,
}

/// Go on writing to everybody with a place at an event: the next piece.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContinueMailing {
    /// `ce_id` of the domain event that they are told of.
    pub cause_id: Uuid,
    pub event_id: Uuid,
    /// The registration up to which mails are queued; `None`: none is yet.
    pub after: Option<Uuid>,
}

/// The mail server took an e-mail to the user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotificationSent {
    pub notification_id: Uuid,
    pub kind: NotificationKind,
    /// `ce_id` of the domain event that it tells of.
    pub cause_id: Uuid,
    pub sent_at: Timestamp,
    /// The event that it is about, if it is about one.
    pub event_id: Option<Uuid>,
}

/// An e-mail to the user was given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotificationFailed {
    pub notification_id: Uuid,
    pub kind: NotificationKind,
    /// `ce_id` of the domain event that it tells of.
    pub cause_id: Uuid,
    /// Without the address.
    pub reason: String,
    pub failed_at: Timestamp,
    /// The event that it is about, if it is about one.
    pub event_id: Option<Uuid>,
}

/// What a notification tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NotificationKind {
    Welcome,
    SeatConfirmed,
    SeatWaitlisted,
    SeatPromoted,
    RegistrationCancelled,
    EventCancelled,
    EventRescheduled,
    Reminder,
    Announcement,
    EmailVerification,
    PasswordReset,
    /// A symbol of a newer writer.
    Unknown,
}
