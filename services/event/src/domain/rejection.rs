use contracts::FieldError;

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// Every field that is at fault.
    Invalid(Vec<FieldError>),
    AlreadyExists,
    /// Only a person can organize an event.
    NoOrganizer,
    /// No such event, or none that the actor may touch.
    Unknown,
    /// It is a draft.
    NotPublished,
    /// These fields of a published event change by `RescheduleEvent`.
    UseReschedule(Vec<FieldError>),
    /// With the fields that can't change any more, if that is the reason.
    Started(Vec<FieldError>),
    Cancelled,
    Ended,
}

impl From<Rejection> for contracts::Rejection {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Invalid(errors) => Self::new("invalid", "Some fields are not valid.").with_errors(errors),
            Rejection::AlreadyExists => Self::new("already-exists", "This event exists already."),
            Rejection::NoOrganizer => Self::new("organizer-required", "Only a person can organize an event."),
            Rejection::Unknown => Self::new("event-unknown", "There is no such event."),
            Rejection::NotPublished => Self::new("event-not-published", "The event is a draft."),
            Rejection::UseReschedule(errors) => {
                Self::new("use-reschedule", "A published event has to be rescheduled.").with_errors(errors)
            }
            Rejection::Started(errors) => Self::new("event-started", "The event has started.").with_errors(errors),
            Rejection::Cancelled => Self::new("event-cancelled", "The event is cancelled."),
            Rejection::Ended => Self::new("event-ended", "The event is over."),
        }
    }
}
