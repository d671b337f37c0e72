//! What people attend: the topics `events` and `events.commands`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Timestamp, message::topic};

topic! {
    /// A request to one event.
    pub EventCommand on EVENTS_COMMANDS in "events.commands" as "rollcall.events.commands" {
        CreateEvent,
        PublishEvent,
        CancelEvent,
        EndEvent,
    }
}

topic! {
    /// What happened to one event.
    pub EventEvent on EVENTS in "events" as "rollcall.events" { EventCreated, EventPublished, EventCancelled, EventEnded }
}

/// Draft an event; the actor of the command becomes its organizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateEvent {
    pub title: String,
    /// Plain text.
    pub description: String,
    pub venue: String,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    /// IANA name of the venue's time zone.
    pub time_zone: String,
    /// Number of seats.
    pub capacity: i32,
    /// From then on nobody can register.
    pub registration_closes_at: Timestamp,
    /// Whether people may wait for a seat when all are taken.
    pub waiting_list: bool,
}

/// Publish the drafted event, so that people can register.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishEvent {}

/// Cancel the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CancelEvent {
    pub reason: String,
}

/// Note that the event's end has passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndEvent {}

/// The event exists as a draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventCreated {
    pub organizer_id: Uuid,
    pub title: String,
    pub description: String,
    pub venue: String,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub time_zone: String,
    pub capacity: i32,
    pub registration_closes_at: Timestamp,
    pub waiting_list: bool,
}

/// The event is public and open for registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventPublished {
    pub organizer_id: Uuid,
    pub title: String,
    pub description: String,
    pub venue: String,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub time_zone: String,
    pub capacity: i32,
    pub registration_closes_at: Timestamp,
    pub waiting_list: bool,
}

/// The event will not take place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventCancelled {
    pub reason: String,
    pub cancelled_at: Timestamp,
}

/// The event is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventEnded {
    pub ended_at: Timestamp,
}
