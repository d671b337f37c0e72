use contracts::FieldError;

/// Reason why an event rejects a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// All invalid fields.
    Invalid(Vec<FieldError>),
    AlreadyExists,
    /// Only a user can organize an event.
    NoOrganizer,
    /// The event does not exist, or the actor is not allowed to manage it.
    Unknown,
    /// The event is a draft.
    NotPublished,
    /// These fields of a published event can be changed only by `RescheduleEvent`.
    UseReschedule(Vec<FieldError>),
    /// The event has started. Lists the fields that can no longer be changed; empty if the command changes no field.
    Started(Vec<FieldError>),
    Cancelled,
    Ended,
}

impl From<Rejection> for contracts::Rejection {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Invalid(errors) => {
                Self::new("invalid", "Some fields are invalid. Correct the listed fields.").with_errors(errors)
            }
            Rejection::AlreadyExists => {
                Self::new("already-exists", "An event with this id already exists. Use a new id.")
            }
            Rejection::NoOrganizer => Self::new(
                "organizer-required",
                "Only a user can organize an event. Sign in as a user and try again.",
            ),
            Rejection::Unknown => Self::new(
                "event-unknown",
                "The event does not exist, or you are not allowed to manage it. Check the event id.",
            ),
            Rejection::NotPublished => Self::new(
                "event-not-published",
                "The event is a draft. Publish the event first.",
            ),
            Rejection::UseReschedule(errors) => Self::new(
                "use-reschedule",
                "The start and end of a published event cannot be changed. Reschedule the event instead.",
            )
            .with_errors(errors),
            Rejection::Started(errors) => Self::new(
                "event-started",
                "The event's start time has passed. Set a later start before you publish a draft. In a published event, \
                 only the title, the description and the venue can still be changed.",
            )
            .with_errors(errors),
            Rejection::Cancelled => Self::new("event-cancelled", "The event is cancelled and can no longer be changed."),
            Rejection::Ended => Self::new("event-ended", "The event has ended and can no longer be changed."),
        }
    }
}
