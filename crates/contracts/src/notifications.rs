//! E-mails to users, delivered or given up: the topic `notifications`.

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

/// The mail server took an e-mail to the user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotificationSent {
    pub notification_id: Uuid,
    pub kind: NotificationKind,
    /// `ce_id` of the domain event that it tells of.
    pub cause_id: Uuid,
    pub sent_at: Timestamp,
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
    /// A symbol of a newer writer.
    Unknown,
}
