//! What others' domain events lead to here: commands to ourselves.

use std::collections::BTreeMap;

use contracts::{
    CancelReason, CancelRegistration, Details, EventChanged, EventEvent, EventStatus, FollowEvent, RegistrationCommand,
    StaffNamed, Terms, UserEvent,
};
use messaging::{Failure, Handler, Outgoing, Received, Unit};
use postgres::{Postgres, store_error};
use uuid::Uuid;

use crate::domain::SELF;
use crate::store;

/// Brings an event's roster to what the event says.
#[derive(Debug, Clone, Copy)]
pub struct FollowEvents;

/// Notes who has no account any more, and cancels their registrations.
#[derive(Debug, Clone, Copy)]
pub struct ReleaseSeats;

impl Handler<Postgres> for FollowEvents {
    type Message = EventEvent;

    async fn handle(&mut self, unit: &mut Unit<Postgres>, messages: &[&Received<EventEvent>]) -> Result<(), Failure> {
        for message in messages {
            let event_sequence = message.envelope.sequence.expect("a domain event has a sequence");
            if let Some(follow) = follow(&message.body, event_sequence) {
                publish(unit, message, message.envelope.key, follow)?;
            }
        }
        Ok(())
    }
}

/// What a roster has to hear of an event's domain event, if anything.
pub fn follow(event: &EventEvent, event_sequence: i64) -> Option<FollowEvent> {
    let status = match event {
        EventEvent::EventPublished(_)
        | EventEvent::EventChanged(EventChanged { published: true, .. })
        | EventEvent::EventRescheduled(_)
        | EventEvent::StaffNamed(StaffNamed { published: true, .. }) => EventStatus::Published,
        EventEvent::EventCancelled(_) => EventStatus::Cancelled,
        EventEvent::EventEnded(_) => EventStatus::Ended,
        // Nobody registers for a draft.
        EventEvent::EventCreated(_)
        | EventEvent::EventChanged(EventChanged { published: false, .. })
        | EventEvent::StaffNamed(StaffNamed { published: false, .. })
        | EventEvent::AnnouncementMade(_) => return None,
    };
    Some(FollowEvent {
        event_sequence,
        status,
        terms: event.details().map(terms),
    })
}

impl Handler<Postgres> for ReleaseSeats {
    type Message = UserEvent;

    async fn handle(&mut self, unit: &mut Unit<Postgres>, messages: &[&Received<UserEvent>]) -> Result<(), Failure> {
        let mut deactivated = BTreeMap::new();
        for message in messages {
            match &message.body {
                // Members get their rows when they register: rows made here would hold up who is registering just then.
                UserEvent::UserCreated(_) => {}
                // A member is an id here. Whoever is forgotten has no open account.
                UserEvent::UserChanged(_) | UserEvent::EmailVerified(_) | UserEvent::UserErased(_) => {}
                UserEvent::UserDeactivated(_) => {
                    deactivated.insert(message.envelope.key, *message);
                }
            }
        }
        let users: Vec<Uuid> = deactivated.keys().copied().collect();
        if users.is_empty() {
            return Ok(());
        }
        // In this order: whoever is registering now is seen, and whoever registers later sees it.
        store::deactivate_members(unit.tx(), &users)
            .await
            .map_err(store_error)?;
        for registration in store::active_registrations(unit.tx(), &users)
            .await
            .map_err(store_error)?
        {
            let cancel = CancelRegistration {
                registration_id: registration.id,
                reason: CancelReason::UserDeactivated,
            };
            publish(unit, deactivated[&registration.user_id], registration.event_id, cancel)?;
        }
        Ok(())
    }
}

/// Says a command to ourselves, on our own behalf.
fn publish<M>(
    unit: &mut Unit<Postgres>,
    because: &Received<M>,
    event: Uuid,
    command: impl Into<RegistrationCommand>,
) -> Result<(), Failure> {
    unit.publish(
        &because.cause(),
        Outgoing::<RegistrationCommand>::new(event, command).actor(SELF),
    )?;
    Ok(())
}

fn terms(details: Details) -> Terms {
    Terms {
        organizer_id: details.organizer_id,
        capacity: details.capacity,
        waiting_list: details.waiting_list,
        registration_closes_at: details.registration_closes_at,
        starts_at: details.starts_at,
        ends_at: details.ends_at,
        registration_opens_at: details.registration_opens_at,
        staff: details.staff,
    }
}
