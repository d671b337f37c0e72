use std::collections::HashMap;

use contracts::{EventCreated, EventEvent, EventPublished};
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
            match &message.body {
                EventEvent::EventCreated(created) => {
                    change.details = Some(created.clone());
                    change.status = Some(EventStatus::Draft);
                    change.created_at = Some(said_at);
                }
                EventEvent::EventPublished(published) => {
                    change.details = Some(details(published));
                    change.status = Some(EventStatus::Published);
                    change.published_at = Some(said_at);
                }
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

/// What is published is all there is to know of the event.
fn details(published: &EventPublished) -> EventCreated {
    let EventPublished {
        organizer_id,
        title,
        description,
        venue,
        starts_at,
        ends_at,
        time_zone,
        capacity,
        registration_closes_at,
        waiting_list,
    } = published.clone();
    EventCreated {
        organizer_id,
        title,
        description,
        venue,
        starts_at,
        ends_at,
        time_zone,
        capacity,
        registration_closes_at,
        waiting_list,
    }
}
