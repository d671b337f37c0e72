//! MailQueues: two mail queues, so e-mails to many recipients do not delay an e-mail that one person is waiting for.

use std::sync::Arc;

use contracts::NotificationKind;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// The queue of an e-mail. Each mail queue has its own senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailQueue {
    Priority,
    Bulk,
}

impl MailQueue {
    pub const ALL: [Self; 2] = [Self::Priority, Self::Bulk];

    /// Returns the mail queue in which e-mails of this kind are sent.
    pub fn of(kind: NotificationKind) -> Self {
        match kind {
            // These come in large numbers: after many sign-ups, or to all attendees of an event.
            NotificationKind::Welcome
            | NotificationKind::EventCancelled
            | NotificationKind::EventRescheduled
            | NotificationKind::Reminder
            | NotificationKind::Announcement => Self::Bulk,
            NotificationKind::SeatConfirmed
            | NotificationKind::SeatWaitlisted
            | NotificationKind::SeatPromoted
            | NotificationKind::RegistrationCancelled
            | NotificationKind::EmailVerification
            | NotificationKind::PasswordReset
            | NotificationKind::Unknown => Self::Priority,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Bulk => "bulk",
        }
    }
}

/// Notifies the mailer of this process when a handler's transaction has enqueued e-mails.
#[derive(Debug, Clone, Default)]
pub struct MailQueues {
    priority: Arc<Notify>,
    bulk: Arc<Notify>,
}

impl MailQueues {
    pub(crate) fn get(&self, mail_queue: MailQueue) -> &Arc<Notify> {
        match mail_queue {
            MailQueue::Priority => &self.priority,
            MailQueue::Bulk => &self.bulk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mails_to_one_person_do_not_queue_behind_mails_to_many() {
        use NotificationKind as Kind;
        for kind in [Kind::SeatConfirmed, Kind::EmailVerification, Kind::PasswordReset] {
            assert_eq!(MailQueue::of(kind), MailQueue::Priority, "{kind:?}");
        }
        for kind in [
            Kind::Welcome,
            Kind::Announcement,
            Kind::EventRescheduled,
            Kind::Reminder,
        ] {
            assert_eq!(MailQueue::of(kind), MailQueue::Bulk, "{kind:?}");
        }
    }
}
