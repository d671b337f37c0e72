#![doc = include_str!("../README.md")]

pub mod aggregate;
pub mod audit;
pub mod codec;
pub mod dead_letters;
pub mod events;
mod message;
pub mod notifications;
pub mod ops;
pub mod registrations;
pub mod registry;
pub mod replies;
mod time;
pub mod topics;
pub mod users;

pub use aggregate::{Actor, Aggregate, Command, FieldError, Refusal, Rejected};
pub use audit::{AuditQuery, FindAuditEntries};
pub use codec::Codec;
pub use dead_letters::{DeadLetterFact, DeadLetterReason, MessageDeadLettered};
pub use events::{
    CancelEvent, CreateEvent, EndEvent, EventCancelled, EventCommand, EventCreated, EventEnded, EventEvent,
    EventPublished, PublishEvent,
};
pub use message::{Message, Record, Upcast};
pub use notifications::{NotificationFact, NotificationFailed, NotificationKind, NotificationSent};
pub use ops::{Assignment, OpsCommand, ProcessStatus, ProcessStatusState, ReleaseKey};
pub use registrations::{
    CancelReason, CancelRegistration, ContinueClosing, EventStatus, FollowEvent, Register, RegistrationCancelled,
    RegistrationCommand, RegistrationEvent, RosterChanged, RosterCloseReason, RosterClosed, RosterOpened,
    SeatConfirmed, SeatPromoted, SeatWaitlisted, Terms,
};
pub use registry::Registry;
pub use replies::{CommandAccepted, CommandFailed, CommandRejected, Effect, Reply};
pub use time::{Date, OutOfRange, ParseError, Timestamp};
pub use topics::{Kind, RecordType, Retention, Topic};
pub use users::{
    CreateUser, DeactivateUser, UserCommand, UserCreated, UserDeactivated, UserEvent, UserProfile, UserProfileState,
};

#[doc(hidden)]
pub mod __private {
    pub use serde;
}
