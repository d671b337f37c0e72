use std::collections::HashMap;

use contracts::{Details, EventChanged, EventEvent, Message, StaffNamed};
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;
use uuid::Uuid;

use super::{failed, notify_waiters, sequence};
use crate::operations::OperationNotifier;
use crate::store::events::{Event, EventStatus, current, save};
use crate::store::history::{self, Entry, HistoryRow};
use crate::text::{storable, storable_json};

/// Stores the events and their history.
pub struct Events(pub(crate) OperationNotifier);

impl Handler<Postgres> for Events {
    type Message = EventEvent;

    async fn handle(&mut self, unit: &mut Unit<Postgres>, messages: &[&Received<EventEvent>]) -> Result<(), Failure> {
        // Nothing is stored of an event before its first domain event.
        let changes = messages.iter().filter(|message| sequence(message) != 1);
        let ids: Vec<Uuid> = changes.map(|message| message.envelope.key).collect();
        let mut events: HashMap<Uuid, Event> = current(unit.tx(), &ids).await.map_err(failed)?;
        let mut history = Vec::with_capacity(messages.len());
        for message in messages {
            let id = message.envelope.key;
            if let Some(event) = evolve(events.remove(&id), message) {
                history.push(history_row(unit, &event, message)?);
                events.insert(id, event);
            }
        }
        let events: Vec<Event> = events.into_values().collect();
        save(unit.tx(), &events).await.map_err(failed)?;
        history::save(unit.tx(), &history).await.map_err(failed)?;
        notify_waiters(&self.0, unit, messages);
        Ok(())
    }
}

/// Returns the event after a domain event.
///
/// Returns `None` if the event is unknown and the domain event does not hold its details. Nothing is stored then, because
/// the first domain event of every event holds all of its details.
fn evolve(before: Option<Event>, message: &Received<EventEvent>) -> Option<Event> {
    let published_at = message.envelope.time.to_utc();
    let mut event = match (before, message.body.details()) {
        (Some(event), Some(details)) => with_details(event, details),
        (Some(event), None) => event,
        (None, Some(details)) => with_details(empty(message), details),
        (None, None) => return None,
    };
    match &message.body {
        EventEvent::EventCreated(_) => event.status = EventStatus::Draft,
        EventEvent::EventPublished(_) => {
            event.status = EventStatus::Published;
            event.published_at = Some(published_at);
        }
        EventEvent::EventChanged(EventChanged { published, .. })
        | EventEvent::StaffNamed(StaffNamed { published, .. }) => {
            event.status = if *published {
                EventStatus::Published
            } else {
                EventStatus::Draft
            };
        }
        EventEvent::EventRescheduled(_) => event.status = EventStatus::Published,
        // An announcement is sent by e-mail and changes nothing here.
        EventEvent::AnnouncementMade(_) => {}
        EventEvent::EventCancelled(cancelled) => {
            event.status = EventStatus::Cancelled;
            event.cancelled_at = Some(cancelled.cancelled_at.to_utc());
            event.cancel_reason = Some(storable(&cancelled.reason));
        }
        EventEvent::EventEnded(ended) => {
            event.status = EventStatus::Ended;
            event.ended_at = Some(ended.ended_at.to_utc());
        }
    }
    event.updated_at = published_at;
    event.version = sequence(message);
    Some(event)
}

/// Returns an event without details, created by this domain event.
fn empty(message: &Received<EventEvent>) -> Event {
    let created_at = message.envelope.time.to_utc();
    Event {
        id: message.envelope.key,
        organizer_id: Uuid::nil(),
        title: String::new(),
        description: String::new(),
        venue: String::new(),
        starts_at: created_at,
        ends_at: created_at,
        time_zone: String::new(),
        capacity: 0,
        registration_opens_at: None,
        registration_closes_at: created_at,
        waiting_list: false,
        status: EventStatus::Draft,
        created_at,
        updated_at: created_at,
        published_at: None,
        cancelled_at: None,
        cancel_reason: None,
        ended_at: None,
        staff: Vec::new(),
        version: 0,
    }
}

fn with_details(event: Event, details: Details) -> Event {
    Event {
        organizer_id: details.organizer_id,
        title: storable(&details.title),
        description: storable(&details.description),
        venue: storable(&details.venue),
        starts_at: details.starts_at.to_utc(),
        ends_at: details.ends_at.to_utc(),
        time_zone: storable(&details.time_zone),
        capacity: details.capacity,
        registration_opens_at: details.registration_opens_at.map(contracts::Timestamp::to_utc),
        registration_closes_at: details.registration_closes_at.to_utc(),
        waiting_list: details.waiting_list,
        staff: details.staff,
        ..event
    }
}

fn history_row(unit: &Unit<Postgres>, event: &Event, message: &Received<EventEvent>) -> Result<HistoryRow, Failure> {
    let codec = unit.publisher().codec();
    // The same JSON as in the audit log, with times as text.
    let content = message.body.encode(codec).and_then(|framed| codec.to_json(&framed));
    let (_, content) = content.map_err(Failure::poison)?;
    let envelope = &message.envelope;
    Ok(HistoryRow {
        event_id: event.id,
        entry: Entry {
            version: event.version,
            type_name: message.body.type_name().to_owned(),
            at: envelope.time.to_utc(),
            actor: envelope.actor.as_ref().map(ToString::to_string),
            correlation_id: envelope.correlation_id,
            content: storable_json(content),
        },
        state: serde_json::to_value(event).map_err(Failure::poison)?,
    })
}
