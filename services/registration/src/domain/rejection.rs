/// Reason why a roster rejects a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The actor is not allowed to issue this command.
    Forbidden,
    /// The command has a status of a newer writer, or publishes an event without terms.
    Unsupported,
    /// The event's publication has not been received. It may still arrive, so the command is deferred.
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
    /// The registration, or the actor's right to check in attendees, has not been received. Either may still arrive, so
    /// the command is deferred.
    RegistrationNotReceived,
    /// The registration does not exist, or the actor is not allowed to change it.
    RegistrationUnknown,
    /// A cancelled registration cannot be checked in.
    RegistrationCancelled,
    /// A registration on the waiting list cannot be checked in.
    NoSeat,
    CheckInNotOpen,
    CheckInOver,
    AlreadyCheckedIn,
    /// The attendee of a checked-in registration cannot cancel it.
    CheckedIn,
}

impl From<Rejection> for contracts::Rejection {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Forbidden => Self::new(
                "forbidden",
                "You are not allowed to change this registration. Ask the organizer of the event.",
            ),
            Rejection::Unsupported => Self::new(
                "unsupported",
                "This version of the registration service does not support the command. Report this to the operators.",
            ),
            Rejection::EventUnknown => Self::new(
                "event-unknown",
                "The event does not exist or is not published. Check the event id.",
            )
            .deferred(),
            Rejection::EventCancelled => Self::new(
                "event-cancelled",
                "The event is cancelled. Its registrations can no longer be changed.",
            ),
            Rejection::EventEnded => Self::new(
                "event-ended",
                "The event has ended. Its registrations can no longer be changed.",
            ),
            Rejection::EventStarted => Self::new(
                "event-started",
                "The event has already started, so registration is no longer possible.",
            ),
            Rejection::RegistrationNotOpen => Self::new(
                "registration-not-open",
                "Registration for this event is not open yet. Try again when it opens.",
            ),
            Rejection::RegistrationClosed => Self::new(
                "registration-closed",
                "Registration for this event is closed. Contact the organizer if you want to attend.",
            ),
            Rejection::EventFull => Self::new(
                "event-full",
                "All seats are taken, and the event has no waiting list. Try again later, because a seat may become free.",
            ),
            Rejection::UserDeactivated => Self::new(
                "user-deactivated",
                "The account of this user is closed. Only users with an open account can register.",
            ),
            Rejection::AlreadyRegistered => Self::new(
                "already-registered",
                "This user is already registered for the event. Cancel that registration before you register again.",
            ),
            Rejection::AlreadyExists => Self::new(
                "already-exists",
                "A registration with this id already exists. Use a new id.",
            ),
            Rejection::RegistrationNotReceived => Self::from(Rejection::RegistrationUnknown).deferred(),
            Rejection::RegistrationUnknown => Self::new(
                "registration-unknown",
                "The registration does not exist. Check the event id and the registration id.",
            ),
            Rejection::RegistrationCancelled => Self::new(
                "registration-cancelled",
                "The registration is cancelled and cannot be checked in. The user must register again.",
            ),
            Rejection::NoSeat => Self::new(
                "no-seat",
                "The registration is on the waiting list. It can be checked in once it has a seat.",
            ),
            Rejection::CheckInNotOpen => Self::new(
                "check-in-not-open",
                "Check-in opens two hours before the event starts. Try again then.",
            ),
            Rejection::CheckInOver => Self::new(
                "check-in-over",
                "Check-in closed when the event ended. The registration can no longer be checked in.",
            ),
            Rejection::AlreadyCheckedIn => Self::new(
                "already-checked-in",
                "The registration is already checked in. No further action is needed.",
            ),
            Rejection::CheckedIn => Self::new(
                "checked-in",
                "The registration is checked in, so only the organizer can cancel it. Contact the organizer.",
            ),
        }
    }
}
