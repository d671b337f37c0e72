//! Seats and waiting lists: the topics `registrations` and `registrations.commands`. The key is the id of
//! the event, which is also the id of its roster.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Timestamp, message::topic};

topic! {
    /// A request to one event's roster.
    pub RegistrationCommand on REGISTRATIONS_COMMANDS in "registrations.commands" as "rollcall.registrations.commands" {
        FollowEvent,
        Register,
        CancelRegistration,
        CheckIn,
        ContinueClosing,
    }
}

topic! {
    /// A domain event of one event's roster.
    pub RegistrationEvent on REGISTRATIONS in "registrations" as "rollcall.registrations" {
        RosterOpened,
        RosterChanged,
        RosterClosed,
        SeatConfirmed,
        SeatWaitlisted,
        SeatPromoted,
        AttendeeCheckedIn,
        RegistrationCancelled,
    }
}

/// Update the roster to the state of its event; the highest `event_sequence` wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FollowEvent {
    /// Sequence of the event's domain event that this command carries.
    pub event_sequence: i64,
    pub status: EventStatus,
    /// `None` if only the status is known.
    pub terms: Option<Terms>,
}

/// Status of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventStatus {
    Published,
    Cancelled,
    Ended,
    /// A symbol of a newer writer.
    Unknown,
}

/// The part of a published event that its roster needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    pub organizer_id: Uuid,
    pub capacity: i32,
    pub waiting_list: bool,
    pub registration_closes_at: Timestamp,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    /// Time at which registration opens; `None`: when the event is published.
    pub registration_opens_at: Option<Timestamp>,
    /// Users who may check in attendees, in addition to the organizer.
    pub staff: Vec<Uuid>,
}

/// Register a user for the event: with a seat, or on the waiting list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Register {
    pub registration_id: Uuid,
    pub user_id: Uuid,
}

/// Cancel a registration: a seat or a place on the waiting list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CancelRegistration {
    pub registration_id: Uuid,
    pub reason: CancelReason,
}

/// Record that the attendee with this seat has arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckIn {
    pub registration_id: Uuid,
}

/// Continue work on the roster that exceeded the limit of one command: cancelling registrations or promoting waiting
/// ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContinueClosing {}

/// Reason why a registration was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancelReason {
    ByAttendee,
    ByOrganizer,
    EventCancelled,
    UserDeactivated,
    /// A symbol of a newer writer.
    Unknown,
}

/// The roster was opened: users can register for the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RosterOpened {
    /// Sequence of the event's domain event that caused this one.
    pub event_sequence: i64,
    pub terms: Terms,
}

/// The terms of the event changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RosterChanged {
    /// Sequence of the event's domain event that caused this one.
    pub event_sequence: i64,
    pub terms: Terms,
}

/// The roster was closed: users can no longer register for the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RosterClosed {
    /// Sequence of the event's domain event that caused this one.
    pub event_sequence: i64,
    pub reason: RosterCloseReason,
}

/// Reason why a roster was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RosterCloseReason {
    Cancelled,
    Ended,
    /// A symbol of a newer writer.
    Unknown,
}

/// A user registered and got a seat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeatConfirmed {
    pub registration_id: Uuid,
    pub user_id: Uuid,
}

/// A user registered and was put on the waiting list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeatWaitlisted {
    pub registration_id: Uuid,
    pub user_id: Uuid,
}

/// A registration moved from the waiting list to a seat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeatPromoted {
    pub registration_id: Uuid,
    pub user_id: Uuid,
}

/// An attendee was checked in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttendeeCheckedIn {
    pub registration_id: Uuid,
    pub user_id: Uuid,
    pub checked_in_at: Timestamp,
}

/// A registration was cancelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegistrationCancelled {
    pub registration_id: Uuid,
    pub user_id: Uuid,
    pub reason: CancelReason,
    /// `true` if the registration had a seat; `false` if it was on the waiting list.
    pub had_seat: bool,
}
