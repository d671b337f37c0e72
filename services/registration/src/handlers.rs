//! Reactions to the domain events of other services: each becomes a command that this service sends to itself.

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

/// Sends `FollowEvent` for each domain event that concerns the event's roster.
#[derive(Debug, Clone, Copy)]
pub struct FollowEvents;

/// Marks the members whose account is closed as deactivated, and cancels their registrations.
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

/// Returns the command by which a roster follows a domain event of its event, or `None` if it does not concern the
/// roster.
pub fn follow(event: &EventEvent, event_sequence: i64) -> Option<FollowEvent> {
    let status = match event {
        EventEvent::EventPublished(_)
        | EventEvent::EventChanged(EventChanged { published: true, .. })
        | EventEvent::EventRescheduled(_)
        | EventEvent::StaffNamed(StaffNamed { published: true, .. }) => EventStatus::Published,
        EventEvent::EventCancelled(_) => EventStatus::Cancelled,
        EventEvent::EventEnded(_) => EventStatus::Ended,
        // A draft has no roster.
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
                // A member's row is inserted at registration. Inserting it here would block a concurrent registration.
                UserEvent::UserCreated(_) => {}
                // Only a member's id is stored here, and an erased user has no open account.
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
        // The order matters: the update waits for concurrent registrations, so the query finds them, and every later
        // registration sees the update.
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

/// Publishes a command of this service to itself, with `cause` as its causation.
fn publish<M>(
    unit: &mut Unit<Postgres>,
    cause: &Received<M>,
    event: Uuid,
    command: impl Into<RegistrationCommand>,
) -> Result<(), Failure> {
    unit.publish(
        &cause.cause(),
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
