//! What people attend: the topics `events` and `events.commands`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Timestamp, message::topic};

topic! {
    /// A request to one event.
    pub EventCommand on EVENTS_COMMANDS in "events.commands" as "rollcall.events.commands" {
        CreateEvent,
        ChangeEvent,
        PublishEvent,
        RescheduleEvent,
        NameStaff,
        Announce,
        CancelEvent,
        EndEvent,
    }
}

topic! {
    /// What happened to one event.
    pub EventEvent on EVENTS in "events" as "rollcall.events" {
        EventCreated,
        EventChanged,
        EventPublished,
        EventRescheduled,
        StaffNamed,
        AnnouncementMade,
        EventCancelled,
        EventEnded,
    }
}

/// Draft an event; the actor of the command becomes its organizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateEvent {
    pub title: String,
    /// Markdown.
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
    /// From then on people can register; `None`: from publication on.
    pub registration_opens_at: Option<Timestamp>,
}

/// Change the event; what is `None` stays. Once published, its times change by [`RescheduleEvent`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChangeEvent {
    pub title: Option<String>,
    /// Markdown.
    pub description: Option<String>,
    pub venue: Option<String>,
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
    /// IANA name of the venue's time zone.
    pub time_zone: Option<String>,
    /// Number of seats.
    pub capacity: Option<i32>,
    pub registration_opens_at: Option<Timestamp>,
    pub registration_closes_at: Option<Timestamp>,
    pub waiting_list: Option<bool>,
}

/// Move the published event to another time; what is `None` stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RescheduleEvent {
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    /// IANA name of the venue's time zone.
    pub time_zone: Option<String>,
    pub registration_opens_at: Option<Timestamp>,
    pub registration_closes_at: Option<Timestamp>,
}

/// Let these users, and no others beside the organizer, check people in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NameStaff {
    pub staff: Vec<Uuid>,
}

/// Write to everybody with a seat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announce {
    /// A new id.
    pub announcement_id: Uuid,
    /// One line.
    pub subject: String,
    /// Markdown.
    pub body: String,
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
    pub details: Details,
}

/// The event is public and open for registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventPublished {
    pub details: Details,
}

/// All there is to know of an event, but its status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Details {
    pub organizer_id: Uuid,
    pub title: String,
    /// Markdown.
    pub description: String,
    pub venue: String,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    /// IANA name of the venue's time zone.
    pub time_zone: String,
    /// Number of seats.
    pub capacity: i32,
    /// From then on people can register; `None`: from publication on.
    pub registration_opens_at: Option<Timestamp>,
    /// From then on nobody can register.
    pub registration_closes_at: Timestamp,
    /// Whether people may wait for a seat when all are taken.
    pub waiting_list: bool,
    /// Users who may check people in, beside the organizer.
    pub staff: Vec<Uuid>,
}

/// The event is another, at the same time and of the same status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventChanged {
    pub details: Details,
    /// Whether the event is public; else it is a draft.
    pub published: bool,
}

/// The published event takes place at another time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRescheduled {
    pub details: Details,
    pub previous_starts_at: Timestamp,
    pub previous_ends_at: Timestamp,
}

/// Others may check people in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StaffNamed {
    pub details: Details,
    /// Whether the event is public; else it is a draft.
    pub published: bool,
}

/// The organizer has something to say to everybody with a seat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnnouncementMade {
    pub announcement_id: Uuid,
    pub organizer_id: Uuid,
    /// One line.
    pub subject: String,
    /// Markdown.
    pub body: String,
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

impl EventEvent {
    /// All that the domain event says of the event, where it says all there is to know.
    pub fn details(&self) -> Option<Details> {
        match self {
            Self::EventCreated(EventCreated { details })
            | Self::EventPublished(EventPublished { details })
            | Self::EventChanged(EventChanged { details, .. })
            | Self::EventRescheduled(EventRescheduled { details, .. })
            | Self::StaffNamed(StaffNamed { details, .. }) => Some(details.clone()),
            Self::AnnouncementMade(_) | Self::EventCancelled(_) | Self::EventEnded(_) => None,
        }
    }
}
