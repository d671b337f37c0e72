//! Events that people attend: the topics `events` and `events.commands`.

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
    /// A domain event of one event.
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

/// Create an event as a draft. The actor of the command becomes its organizer.
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
    /// Time at which registration closes.
    pub registration_closes_at: Timestamp,
    /// `true` if users can join a waiting list when all seats are taken.
    pub waiting_list: bool,
    /// Time at which registration opens; `None`: when the event is published.
    pub registration_opens_at: Option<Timestamp>,
}

/// Change the event; a `None` field stays the same. The times of a published event change only by [`RescheduleEvent`].
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

/// Move the published event to another time. A `None` time zone stays the same; `None` registration times move with the
/// start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RescheduleEvent {
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    /// IANA name of the venue's time zone.
    pub time_zone: Option<String>,
    pub registration_opens_at: Option<Timestamp>,
    pub registration_closes_at: Option<Timestamp>,
}

/// Replace the users who may check in attendees, in addition to the organizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NameStaff {
    pub staff: Vec<Uuid>,
}

/// Send an announcement to every attendee with a seat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announce {
    /// A new UUID.
    pub announcement_id: Uuid,
    /// One line.
    pub subject: String,
    /// Markdown.
    pub body: String,
}

/// Publish the draft so that users can register.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishEvent {}

/// Cancel the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CancelEvent {
    pub reason: String,
}

/// Record that the event's end has passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndEvent {}

/// The event was created as a draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventCreated {
    pub details: Details,
}

/// The event was published and can be registered for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventPublished {
    pub details: Details,
}

/// Everything that is known about an event, except its status.
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
    /// Time at which registration opens; `None`: when the event is published.
    pub registration_opens_at: Option<Timestamp>,
    /// Time at which registration closes.
    pub registration_closes_at: Timestamp,
    /// `true` if users can join a waiting list when all seats are taken.
    pub waiting_list: bool,
    /// Users who may check in attendees, in addition to the organizer.
    pub staff: Vec<Uuid>,
}

/// The event was changed. Its status stayed the same, and so did its time if it is published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventChanged {
    pub details: Details,
    /// `true` if the event is published; `false` if it is a draft.
    pub published: bool,
}

/// The published event was moved to another time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRescheduled {
    pub details: Details,
    pub previous_starts_at: Timestamp,
    pub previous_ends_at: Timestamp,
}

/// The users who may check in attendees were replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StaffNamed {
    pub details: Details,
    /// `true` if the event is published; `false` if it is a draft.
    pub published: bool,
}

/// The organizer sent an announcement to every attendee with a seat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnnouncementMade {
    pub announcement_id: Uuid,
    pub organizer_id: Uuid,
    /// One line.
    pub subject: String,
    /// Markdown.
    pub body: String,
}

/// The event was cancelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventCancelled {
    pub reason: String,
    pub cancelled_at: Timestamp,
}

/// The event ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventEnded {
    pub ended_at: Timestamp,
}

impl EventEvent {
    /// Returns the event's details, or `None` if the domain event does not contain them.
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
