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
    RegistrationNotOpen,
    RegistrationClosed,
    EventFull,
    UserDeactivated,
    AlreadyRegistered,
    /// The registration's id was used before.
    AlreadyExists,
    /// The registration was not heard of yet, or not that the actor may check people in; either may be on its way, so
    /// the command is deferred.
    RegistrationUnheard,
    /// None that the actor may touch.
    RegistrationUnknown,
    /// It ended: nobody is checked in by it.
    RegistrationCancelled,
    /// Who waits for a seat is not checked in.
    NoSeat,
    CheckInNotOpen,
    CheckInOver,
    AlreadyCheckedIn,
    /// Who is here can't stay away any more.
    CheckedIn,
}

impl From<Rejection> for contracts::Rejection {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Forbidden => Self::new("forbidden", "This is not yours to do."),
            Rejection::Unsupported => Self::new("unsupported", "This service does not understand the command."),
            Rejection::EventUnknown => Self::new("event-unknown", "There is no such event.").deferred(),
            Rejection::EventCancelled => Self::new("event-cancelled", "The event is cancelled."),
            Rejection::EventEnded => Self::new("event-ended", "The event is over."),
            Rejection::EventStarted => Self::new("event-started", "The event has started."),
            Rejection::RegistrationNotOpen => Self::new("registration-not-open", "Registration is not open yet."),
            Rejection::RegistrationClosed => Self::new("registration-closed", "Registration is closed."),
            Rejection::EventFull => Self::new("event-full", "All seats are taken."),
            Rejection::UserDeactivated => Self::new("user-deactivated", "This account is closed."),
            Rejection::AlreadyRegistered => Self::new("already-registered", "This person is registered already."),
            Rejection::AlreadyExists => Self::new("already-exists", "This registration exists already."),
            Rejection::RegistrationUnheard => Self::from(Rejection::RegistrationUnknown).deferred(),
            Rejection::RegistrationUnknown => Self::new("registration-unknown", "There is no such registration."),
            Rejection::RegistrationCancelled => Self::new("registration-cancelled", "The registration is cancelled."),
            Rejection::NoSeat => Self::new("no-seat", "This person waits for a seat."),
            Rejection::CheckInNotOpen => {
                Self::new("check-in-not-open", "Check-in opens two hours before the event starts.")
            }
            Rejection::CheckInOver => Self::new("check-in-over", "Check-in closed when the event ended."),
            Rejection::AlreadyCheckedIn => Self::new("already-checked-in", "This person is checked in already."),
            Rejection::CheckedIn => Self::new("checked-in", "This person is checked in."),
        }
    }
}
