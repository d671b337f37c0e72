use std::collections::HashMap;

use contracts::NotificationFact;
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;
use uuid::Uuid;

use super::failed;
use crate::store::notifications::{NotificationRow, NotificationStatus, save};
use crate::text::storable;

/// Stores the outcome of each e-mail.
pub struct Notifications;

impl Handler<Postgres> for Notifications {
    type Message = NotificationFact;

    async fn handle(
        &mut self,
        unit: &mut Unit<Postgres>,
        messages: &[&Received<NotificationFact>],
    ) -> Result<(), Failure> {
        let mut rows: HashMap<Uuid, NotificationRow> = HashMap::new();
        for message in messages {
            let row = row(message.envelope.key, &message.body);
            // A notification that was sent never becomes a failed one.
            let sent = rows
                .get(&row.id)
                .is_some_and(|known| known.status == NotificationStatus::Sent);
            if !sent {
                rows.insert(row.id, row);
            }
        }
        let rows: Vec<NotificationRow> = rows.into_values().collect();
        save(unit.tx(), &rows).await.map_err(failed)
    }
}

fn row(user_id: Uuid, fact: &NotificationFact) -> NotificationRow {
    match fact {
        NotificationFact::NotificationSent(sent) => NotificationRow {
            id: sent.notification_id,
            user_id,
            kind: sent.kind.into(),
            status: NotificationStatus::Sent,
            cause_id: sent.cause_id,
            event_id: sent.event_id,
            reason: None,
            at: sent.sent_at.to_utc(),
        },
        NotificationFact::NotificationFailed(failed) => NotificationRow {
            id: failed.notification_id,
            user_id,
            kind: failed.kind.into(),
            status: NotificationStatus::Failed,
            cause_id: failed.cause_id,
            event_id: failed.event_id,
            reason: Some(storable(&failed.reason)),
            at: failed.failed_at.to_utc(),
        },
    }
}
