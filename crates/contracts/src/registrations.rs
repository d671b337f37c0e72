//! Seats and waiting lists: the topics `registrations` and `registrations.commands`. The key is the event's id, which
//! is also its roster's.

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
    /// What happened to one event's roster.
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

/// Bring the roster to what its event says; the highest `event_sequence` wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FollowEvent {
    /// Sequence of the event's domain event that this states.
    pub event_sequence: i64,
    pub status: EventStatus,
    /// `None` where the status alone is known.
    pub terms: Option<Terms>,
}

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventStatus {
    Published,
    Cancelled,
    Ended,
    /// A symbol of a newer writer.
    Unknown,
}

/// What the roster has to know about a published event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    pub organizer_id: Uuid,
    pub capacity: i32,
    pub waiting_list: bool,
    pub registration_closes_at: Timestamp,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    /// From then on people can register; `None`: from publication on.
    pub registration_opens_at: Option<Timestamp>,
    /// Users who may check people in, beside the organizer.
    pub staff: Vec<Uuid>,
}

/// Give a person a seat, or a place on the waiting list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Register {
    pub registration_id: Uuid,
    pub user_id: Uuid,
}

/// Give up a seat or a place on the waiting list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CancelRegistration {
    pub registration_id: Uuid,
    pub reason: CancelReason,
}

/// Note that the person with this seat is here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckIn {
    pub registration_id: Uuid,
}

/// Go on cancelling the registrations of a closed roster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContinueClosing {}

/// Why a registration ended.
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

/// People can register for the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RosterOpened {
    /// Sequence of the event's domain event that this follows from.
    pub event_sequence: i64,
    pub terms: Terms,
}

/// The terms of the event changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RosterChanged {
    /// Sequence of the event's domain event that this follows from.
    pub event_sequence: i64,
    pub terms: Terms,
}

/// Nobody can register for the event any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RosterClosed {
    /// Sequence of the event's domain event that this follows from.
    pub event_sequence: i64,
    pub reason: RosterCloseReason,
}

/// Why a roster closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RosterCloseReason {
    Cancelled,
    Ended,
    /// A symbol of a newer writer.
    Unknown,
}

/// A person has a seat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeatConfirmed {
    pub registration_id: Uuid,
    pub user_id: Uuid,
}

/// A person waits for a seat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeatWaitlisted {
    pub registration_id: Uuid,
    pub user_id: Uuid,
}

/// A person moved from the waiting list to a seat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeatPromoted {
    pub registration_id: Uuid,
    pub user_id: Uuid,
}

/// A person with a seat is here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttendeeCheckedIn {
    pub registration_id: Uuid,
    pub user_id: Uuid,
    pub checked_in_at: Timestamp,
}

/// A registration ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegistrationCancelled {
    pub registration_id: Uuid,
    pub user_id: Uuid,
    pub reason: CancelReason,
    /// Whether a seat came free, not only a place on the waiting list.
    pub had_seat: bool,
}
