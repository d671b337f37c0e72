//! What people attend: drafted, published, then cancelled or over. Pure.

mod form;

use contracts::{
    Actor, Aggregate, CancelEvent, Command, CreateEvent, EventCancelled, EventCommand, EventCreated, EventEnded,
    EventEvent, EventPublished, FieldError, Refusal, Rejected, Timestamp, state,
};
use uuid::Uuid;

/// On whose behalf an event ends.
pub const SELF: Actor = Actor::service("event");

state! {
    /// One event. `details` are there from its creation on.
    #[derive(Debug, Default, Clone, PartialEq)]
    pub struct Event {
        pub status: Status,
        pub details: Option<EventCreated>,
    }

    #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
    pub enum Status {
        #[default]
        Absent,
        Draft,
        Published,
        Cancelled,
        Ended,
    }
}

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
    Started,
    Cancelled,
    Ended,
}

impl Aggregate for Event {
    const NAME: &'static str = "event.event";
    type Command = EventCommand;
    type DomainEvent = EventEvent;
    type Context = ();
    type Rejection = Rejection;

    fn decide(&self, (): &(), command: &Command<EventCommand>) -> Result<Vec<EventEvent>, Rejection> {
        let actor = command.actor.as_ref();
        match &command.body {
            EventCommand::CreateEvent(create) => self.create(actor, command.time, create),
            EventCommand::PublishEvent(_) => self.publish(actor, command.time),
            EventCommand::CancelEvent(cancel) => self.cancel(actor, command.time, cancel),
            EventCommand::EndEvent(_) => self.end(actor, command.time),
        }
    }

    fn evolve(&mut self, (): &mut (), _key: Uuid, event: &EventEvent) {
        match event {
            EventEvent::EventCreated(created) => {
                self.status = Status::Draft;
                self.details = Some(created.clone());
            }
            EventEvent::EventPublished(_) => self.status = Status::Published,
            EventEvent::EventCancelled(_) => self.status = Status::Cancelled,
            EventEvent::EventEnded(_) => self.status = Status::Ended,
        }
    }
}

impl Event {
    fn create(
        &self,
        actor: Option<&Actor>,
        now: Timestamp,
        create: &CreateEvent,
    ) -> Result<Vec<EventEvent>, Rejection> {
        if self.details.is_some() {
            return Err(Rejection::AlreadyExists);
        }
        let organizer_id = actor.and_then(Actor::user).ok_or(Rejection::NoOrganizer)?;
        let errors = form::errors(create, now);
        if !errors.is_empty() {
            return Err(Rejection::Invalid(errors));
        }
        let CreateEvent {
            title,
            description,
            venue,
            starts_at,
            ends_at,
            time_zone,
            capacity,
            registration_closes_at,
            waiting_list,
        } = create.clone();
        Ok(vec![
            EventCreated {
                organizer_id,
                title,
                description,
                venue,
                starts_at,
                ends_at,
                time_zone,
                capacity,
                registration_closes_at,
                waiting_list,
            }
            .into(),
        ])
    }

    fn publish(&self, actor: Option<&Actor>, now: Timestamp) -> Result<Vec<EventEvent>, Rejection> {
        let details = self.details_for(actor)?;
        match self.status {
            Status::Absent => Err(Rejection::Unknown),
            Status::Published => Ok(Vec::new()),
            Status::Cancelled => Err(Rejection::Cancelled),
            Status::Ended => Err(Rejection::Ended),
            Status::Draft if details.starts_at <= now => Err(Rejection::Started),
            Status::Draft => Ok(vec![published(details).into()]),
        }
    }

    fn cancel(
        &self,
        actor: Option<&Actor>,
        now: Timestamp,
        cancel: &CancelEvent,
    ) -> Result<Vec<EventEvent>, Rejection> {
        let details = self.details_for(actor)?;
        match self.status {
            Status::Absent => Err(Rejection::Unknown),
            Status::Cancelled => Ok(Vec::new()),
            Status::Ended => Err(Rejection::Ended),
            // Its EndEvent is on the way.
            Status::Published if details.ends_at <= now => Err(Rejection::Ended),
            Status::Draft | Status::Published => {
                let errors = form::reason_errors(&cancel.reason);
                if !errors.is_empty() {
                    return Err(Rejection::Invalid(errors));
                }
                let reason = cancel.reason.clone();
                Ok(vec![
                    EventCancelled {
                        reason,
                        cancelled_at: now,
                    }
                    .into(),
                ])
            }
        }
    }

    /// An `EndEvent` is sent when the event is published, to arrive at its end: by then there may be nothing to do.
    /// Its time is the end that it was sent for, not when it was written.
    fn end(&self, actor: Option<&Actor>, now: Timestamp) -> Result<Vec<EventEvent>, Rejection> {
        if actor != Some(&SELF) {
            return Err(Rejection::Unknown);
        }
        match &self.details {
            Some(details) if self.status == Status::Published && details.ends_at <= now => Ok(vec![
                EventEnded {
                    ended_at: details.ends_at,
                }
                .into(),
            ]),
            _ => Ok(Vec::new()),
        }
    }

    /// The details, for its organizer and for services; to anybody else there is no such event.
    fn details_for(&self, actor: Option<&Actor>) -> Result<&EventCreated, Rejection> {
        let details = self.details.as_ref().ok_or(Rejection::Unknown)?;
        match actor {
            Some(Actor::User(id)) if *id == details.organizer_id => Ok(details),
            Some(Actor::System(_)) => Ok(details),
            Some(Actor::User(_)) | None => Err(Rejection::Unknown),
        }
    }
}

fn published(details: &EventCreated) -> EventPublished {
    let EventCreated {
        organizer_id,
        title,
        description,
        venue,
        starts_at,
        ends_at,
        time_zone,
        capacity,
        registration_closes_at,
        waiting_list,
    } = details.clone();
    EventPublished {
        organizer_id,
        title,
        description,
        venue,
        starts_at,
        ends_at,
        time_zone,
        capacity,
        registration_closes_at,
        waiting_list,
    }
}

impl From<Rejection> for Rejected {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Invalid(errors) => Self {
                errors,
                ..Self::new("invalid", "Some fields are not valid.")
            },
            Rejection::AlreadyExists => Self::new("already-exists", "This event exists already."),
            Rejection::NoOrganizer => Self::new("organizer-required", "Only a person can organize an event."),
            Rejection::Unknown => Self::new("event-unknown", "There is no such event."),
            Rejection::Started => Self::new("event-started", "The event has started."),
            Rejection::Cancelled => Self::new("event-cancelled", "The event is cancelled."),
            Rejection::Ended => Self::new("event-ended", "The event is over."),
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Rejected::from(rejection).into()
    }
}
