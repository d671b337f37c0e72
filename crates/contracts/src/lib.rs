#![doc = include_str!("../README.md")]

pub mod aggregate;
pub mod audit;
pub mod codec;
pub mod dead_letters;
pub mod events;
pub mod links;
mod message;
pub mod notifications;
pub mod ops;
pub mod registrations;
pub mod registry;
pub mod replies;
pub mod security;
mod time;
mod time_zone;
pub mod topics;
pub mod users;

pub use aggregate::{Actor, Aggregate, Command, FieldError, Rejection};
pub use audit::{
    AuditFact, AuditQuery, CertifiedTopic, CheckpointHead, CheckpointSigned, DeliveryCertified, FindAuditEntries,
    FindCertificates, FindCheckpoints, ProveAuditEntry, ReadAuditLog, VerifyAuditLog,
};
pub use codec::Codec;
pub use dead_letters::{DeadLetterFact, DeadLetterReason, MessageDeadLettered};
pub use events::{
    Announce, AnnouncementMade, CancelEvent, ChangeEvent, CreateEvent, Details, EndEvent, EventCancelled, EventChanged,
    EventCommand, EventCreated, EventEnded, EventEvent, EventPublished, EventRescheduled, NameStaff, PublishEvent,
    RescheduleEvent, StaffNamed,
};
pub use message::{Message, Record, Upcast};
pub use notifications::{
    ContinueMailing, NotificationCommand, NotificationFact, NotificationFailed, NotificationKind, NotificationSent,
    SendPasswordResetMail, SendReminder, SendVerificationMail,
};
pub use ops::{
    Assignment, CreateAdmin, DiscardDeadLetter, DiscardParked, FindDeadLetters, FindParked, GrantRole, OpsCommand,
    ProcessStatus, ProcessStatusState, ReadAggregate, ReadHistory, RedriveDeadLetter, ReleaseKey, Replay, Republish,
    ShowDeadLetter, SkipOffset, VerifySnapshots, WhereIs,
};
pub use registrations::{
    AttendeeCheckedIn, CancelReason, CancelRegistration, CheckIn, ContinueClosing, EventStatus, FollowEvent, Register,
    RegistrationCancelled, RegistrationCommand, RegistrationEvent, RosterChanged, RosterCloseReason, RosterClosed,
    RosterOpened, SeatConfirmed, SeatPromoted, SeatWaitlisted, Terms,
};
pub use registry::Registry;
pub use replies::{CommandAccepted, CommandFailed, CommandRejected, Effect, Reply};
pub use security::{
    AccessDenied, PasswordChanged, RevocationReason, RoleGranted, RoleRevoked, SecurityFact, SessionFamilyRevoked,
    SignInFailed, SignInFailure,
};
pub use time::{Date, OutOfRange, ParseError, Timestamp};
pub use time_zone::check_time_zone;
pub use topics::{Kind, RecordType, Retention, Topic};
pub use users::{
    ChangeUser, CreateUser, DeactivateUser, EmailVerified, EraseUser, UserChanged, UserCommand, UserCreated,
    UserDeactivated, UserErased, UserEvent, UserProfile, UserProfileState, VerifyEmail,
};

#[doc(hidden)]
pub mod __private {
    pub use serde;
}
