use contracts::{Refusal, Rejected};

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// Not for this actor to say.
    Forbidden,
    /// A status of a newer writer, or a published event without terms.
    Unsupported,
    /// The event was not heard of yet; it may be on its way, so the command is deferred.
    EventUnknown,
    EventCancelled,
    EventEnded,
    EventStarted,
    RegistrationClosed,
    EventFull,
    UserDeactivated,
    AlreadyRegistered,
    /// The registration's id was used before.
    AlreadyExists,
    /// The registration was not heard of yet; it may be on its way, so the command is deferred.
    RegistrationUnheard,
    /// None that the actor may touch.
    RegistrationUnknown,
}

impl From<Rejection> for Rejected {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Forbidden => Self::new("forbidden", "This is not yours to do."),
            Rejection::Unsupported => Self::new("unsupported", "This service does not understand the command."),
            Rejection::EventUnknown => Self::new("event-unknown", "There is no such event."),
            Rejection::EventCancelled => Self::new("event-cancelled", "The event is cancelled."),
            Rejection::EventEnded => Self::new("event-ended", "The event is over."),
            Rejection::EventStarted => Self::new("event-started", "The event has started."),
            Rejection::RegistrationClosed => Self::new("registration-closed", "Registration is closed."),
            Rejection::EventFull => Self::new("event-full", "All seats are taken."),
            Rejection::UserDeactivated => Self::new("user-deactivated", "This account is closed."),
            Rejection::AlreadyRegistered => Self::new("already-registered", "This person is registered already."),
            Rejection::AlreadyExists => Self::new("already-exists", "This registration exists already."),
            Rejection::RegistrationUnheard | Rejection::RegistrationUnknown => {
                Self::new("registration-unknown", "There is no such registration.")
            }
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let rejected = Rejected::from(rejection);
        match rejection {
            Rejection::EventUnknown | Rejection::RegistrationUnheard => Self::Defer(rejected),
            Rejection::Forbidden
            | Rejection::Unsupported
            | Rejection::EventCancelled
            | Rejection::EventEnded
            | Rejection::EventStarted
            | Rejection::RegistrationClosed
            | Rejection::EventFull
            | Rejection::UserDeactivated
            | Rejection::AlreadyRegistered
            | Rejection::AlreadyExists
            | Rejection::RegistrationUnknown => Self::Reject(rejected),
        }
    }
}
