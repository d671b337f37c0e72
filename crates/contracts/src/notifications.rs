//! E-mails to users: the topics `notifications` (outcomes) and `notifications.commands`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Timestamp, message::topic};

topic! {
    /// The outcome of one e-mail.
    pub NotificationFact on NOTIFICATIONS in "notifications" as "rollcall.notifications" {
        NotificationSent,
        NotificationFailed,
    }
}

topic! {
    /// A request to send e-mails.
    pub NotificationCommand on NOTIFICATIONS_COMMANDS in "notifications.commands" as "rollcall.notifications.commands" {
        SendReminder,
        SendVerificationMail,
        SendPasswordResetMail,
        ContinueMailing,
    }
}

/// Send a reminder of an event, unless the registration or the start has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendReminder {
    pub registration_id: Uuid,
    pub user_id: Uuid,
    pub event_id: Uuid,
    /// Start of the event when the command was sent. If the event then has another start, the reminder is dropped.
    pub starts_at: Timestamp,
}

/// Send the user an e-mail with a link to verify the address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendVerificationMail {
    pub user_id: Uuid,
    /// Makes the token in the link unique. It is worthless without the key.
    pub nonce: Uuid,
    pub expires_at: Timestamp,
}

/// Send the user an e-mail with a link to set a new password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendPasswordResetMail {
    pub user_id: Uuid,
    /// Makes the token in the link unique. It is worthless without the key.
    pub nonce: Uuid,
    pub expires_at: Timestamp,
}

/// Continue a mailing to the registered users of an event with its next part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContinueMailing {
    /// `ce_id` of the domain event that the mailing reports.
    pub cause_id: Uuid,
    pub event_id: Uuid,
    /// Last registration whose e-mail is queued; `None`: none yet.
    pub after: Option<Uuid>,
}

/// The mail server accepted an e-mail to the user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotificationSent {
    pub notification_id: Uuid,
    pub kind: NotificationKind,
    /// `ce_id` of the message that caused the notification.
    pub cause_id: Uuid,
    pub sent_at: Timestamp,
    /// The event that the notification concerns; `None` if it concerns none.
    pub event_id: Option<Uuid>,
}

/// An e-mail to the user failed and will not be retried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotificationFailed {
    pub notification_id: Uuid,
    pub kind: NotificationKind,
    /// `ce_id` of the message that caused the notification.
    pub cause_id: Uuid,
    /// Without the address.
    pub reason: String,
    pub failed_at: Timestamp,
    /// The event that the notification concerns; `None` if it concerns none.
    pub event_id: Option<Uuid>,
}

/// Kind of notification.
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
