use std::collections::HashMap;

use contracts::{EventChanged, EventEvent, StaffNamed};
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;
use uuid::Uuid;

use super::{failed, sequence, wake};
use crate::operations::Wakes;
use crate::store::events::{EventChange, EventStatus, save};

/// Keeps events.
pub struct Events {
    wakes: Wakes,
}

impl Events {
    pub fn new(wakes: Wakes) -> Self {
        Self { wakes }
    }
}

impl Handler<Postgres> for Events {
    type Message = EventEvent;

    async fn handle(&mut self, unit: &mut Unit<Postgres>, messages: &[&Received<EventEvent>]) -> Result<(), Failure> {
        let mut changes: HashMap<Uuid, EventChange> = HashMap::new();
        for message in messages {
            let change = changes.entry(message.envelope.key).or_default();
            change.version = sequence(message);
            let said_at = message.envelope.time.to_utc();
            if let Some(details) = message.body.details() {
                change.details = Some(details);
                change.created_at.get_or_insert(said_at);
            }
            match &message.body {
                EventEvent::EventCreated(_) => change.status = Some(EventStatus::Draft),
                EventEvent::EventPublished(_) => {
                    change.status = Some(EventStatus::Published);
                    change.published_at = Some(said_at);
                }
                EventEvent::EventChanged(EventChanged { published, .. })
                | EventEvent::StaffNamed(StaffNamed { published, .. }) => {
                    change.status = Some(match published {
                        true => EventStatus::Published,
                        false => EventStatus::Draft,
                    });
                }
                EventEvent::EventRescheduled(_) => change.status = Some(EventStatus::Published),
                // People read it in their mail.
                EventEvent::AnnouncementMade(_) => {}
                EventEvent::EventCancelled(cancelled) => {
                    change.status = Some(EventStatus::Cancelled);
                    change.cancelled_at = Some(cancelled.cancelled_at.to_utc());
                    change.cancel_reason = Some(cancelled.reason.clone());
                }
                EventEvent::EventEnded(ended) => {
                    change.status = Some(EventStatus::Ended);
                    change.ended_at = Some(ended.ended_at.to_utc());
                }
            }
        }
        let changes: Vec<_> = changes.into_iter().collect();
        save(unit.tx(), &changes).await.map_err(failed)?;
        wake(&self.wakes, messages);
        Ok(())
    }
}
