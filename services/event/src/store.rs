//! The event service has no tables besides the journal. It only sends commands to itself.

use contracts::{Command, EndEvent, EventCommand, EventEvent};
use messaging::ledger::StoreError;
use messaging::{Failure, Outgoing, Unit};
use postgres::{Decided, Postgres, Store, Tx};

use crate::domain::{Event, SELF};

#[derive(Debug, Clone, Copy)]
pub struct EventStore;

impl Store<Event> for EventStore {
    async fn context(&self, _: &mut Tx, _: &[Command<EventCommand>]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn write(
        &self,
        unit: &mut Unit<Postgres>,
        _: &(),
        decisions: &mut [Decided<'_, Event>],
    ) -> Result<(), Failure> {
        for decided in decisions {
            for (_, event) in &decided.domain_events {
                let ends_at = match event {
                    EventEvent::EventPublished(published) => published.details.ends_at,
                    // The `EndEvent` that was sent for the former end has no effect.
                    EventEvent::EventRescheduled(rescheduled) => rescheduled.details.ends_at,
                    EventEvent::EventCreated(_)
                    | EventEvent::EventChanged(_)
                    | EventEvent::StaffNamed(_)
                    | EventEvent::AnnouncementMade(_)
                    | EventEvent::EventCancelled(_)
                    | EventEvent::EventEnded(_) => continue,
                };
                let end = Outgoing::<EventCommand>::new(decided.command.key, EndEvent {});
                let end = end.actor(SELF).time(ends_at).due_at(ends_at);
                unit.publish(&decided.received.cause(), end)?;
            }
        }
        Ok(())
    }
}
