//! The life of an event: drafted, published, then cancelled or ended. Pure: no I/O, clock or randomness.

mod decisions;
mod form;
mod rejection;

use contracts::{Actor, Aggregate, Command, Details, EventCommand, EventEvent, state};
use uuid::Uuid;

pub use rejection::Rejection;

/// Actor of the command that ends an event.
pub const SELF: Actor = Actor::service("event");

state! {
    /// One event. `details` is `Some` from its creation on.
    #[derive(Debug, Default, Clone, PartialEq)]
    pub struct Event {
        pub status: Status,
        pub details: Option<Details>,
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
            EventCommand::ChangeEvent(change) => self.change(actor, command.time, change),
            EventCommand::PublishEvent(_) => self.publish(actor, command.time),
            EventCommand::RescheduleEvent(reschedule) => self.reschedule(actor, command.time, reschedule),
            EventCommand::NameStaff(name) => self.name_staff(actor, command.time, name),
            EventCommand::Announce(announce) => self.announce(actor, announce),
            EventCommand::CancelEvent(cancel) => self.cancel(actor, command.time, cancel),
            EventCommand::EndEvent(_) => self.end(actor, command.time),
        }
    }

    fn evolve(&mut self, (): &mut (), _key: Uuid, event: &EventEvent) {
        if let Some(details) = event.details() {
            self.details = Some(details);
        }
        match event {
            EventEvent::EventCreated(_) => self.status = Status::Draft,
            EventEvent::EventPublished(_) => self.status = Status::Published,
            EventEvent::EventCancelled(_) => self.status = Status::Cancelled,
            EventEvent::EventEnded(_) => self.status = Status::Ended,
            EventEvent::EventChanged(_)
            | EventEvent::EventRescheduled(_)
            | EventEvent::StaffNamed(_)
            | EventEvent::AnnouncementMade(_) => {}
        }
    }
}
