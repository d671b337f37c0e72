//! Lanes: what is written to many at once must not delay what one person waits for.

use std::sync::Arc;

use contracts::NotificationKind;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Which queue a mail waits in. Each has senders of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    Priority,
    Bulk,
}

impl Lane {
    pub const ALL: [Self; 2] = [Self::Priority, Self::Bulk];

    pub fn of(kind: NotificationKind) -> Self {
        match kind {
            // These come in storms: of sign-ups, or to everybody at an event.
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

/// Wakes the mailer of this process when a handler's transaction brought it work.
#[derive(Debug, Clone, Default)]
pub struct Lanes {
    priority: Arc<Notify>,
    bulk: Arc<Notify>,
}

impl Lanes {
    pub(crate) fn get(&self, lane: Lane) -> &Arc<Notify> {
        match lane {
            Lane::Priority => &self.priority,
            Lane::Bulk => &self.bulk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_person_waits_for_is_not_behind_what_many_get() {
        use NotificationKind as Kind;
        for kind in [Kind::SeatConfirmed, Kind::EmailVerification, Kind::PasswordReset] {
            assert_eq!(Lane::of(kind), Lane::Priority, "{kind:?}");
        }
        for kind in [
            Kind::Welcome,
            Kind::Announcement,
            Kind::EventRescheduled,
            Kind::Reminder,
        ] {
            assert_eq!(Lane::of(kind), Lane::Bulk, "{kind:?}");
        }
    }
}
