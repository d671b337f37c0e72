use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contracts::RegistrationEvent;
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;
use uuid::Uuid;

use super::{failed, notify_waiters, sequence};
use crate::operations::OperationNotifier;
use crate::store::registrations::{
    NewRegistration, RegistrationChange, RegistrationStatus, RosterChange, save, save_rosters,
};

/// Stores registrations, and counts the seats of each event.
pub struct Registrations(pub(crate) OperationNotifier);

impl Handler<Postgres> for Registrations {
    type Message = RegistrationEvent;

    async fn handle(
        &mut self,
        unit: &mut Unit<Postgres>,
        messages: &[&Received<RegistrationEvent>],
    ) -> Result<(), Failure> {
        let mut changes = Changes::default();
        for message in messages {
            changes.apply(message);
        }
        let rosters: Vec<_> = changes.rosters.into_iter().collect();
        save_rosters(unit.tx(), &rosters).await.map_err(failed)?;
        let registrations: Vec<_> = changes.registrations.into_iter().collect();
        save(unit.tx(), &registrations).await.map_err(failed)?;
        notify_waiters(&self.0, unit, messages);
        Ok(())
    }
}

/// All changes of one batch.
#[derive(Debug, Default, PartialEq)]
struct Changes {
    rosters: HashMap<Uuid, RosterChange>,
    registrations: HashMap<Uuid, RegistrationChange>,
}

impl Changes {
    fn apply(&mut self, message: &Received<RegistrationEvent>) {
        let event_id = message.envelope.key;
        let version = sequence(message);
        let at = message.envelope.time.to_utc();
        let roster = self.rosters.entry(event_id).or_default();
        roster.version = version;
        match &message.body {
            RegistrationEvent::RosterOpened(opened) => roster.capacity = Some(opened.terms.capacity),
            RegistrationEvent::RosterChanged(changed) => roster.capacity = Some(changed.terms.capacity),
            RegistrationEvent::RosterClosed(_) => roster.closed = true,
            RegistrationEvent::SeatConfirmed(seat) => {
                roster.taken += 1;
                let new = new_registration(event_id, seat.user_id, version, at);
                let change = self.registration(seat.registration_id, version, RegistrationStatus::Confirmed);
                change.new = Some(new);
                change.confirmed_at = Some(at);
            }
            RegistrationEvent::SeatWaitlisted(waitlisted) => {
                roster.waiting += 1;
                let new = new_registration(event_id, waitlisted.user_id, version, at);
                let change = self.registration(waitlisted.registration_id, version, RegistrationStatus::Waitlisted);
                change.new = Some(new);
            }
            RegistrationEvent::SeatPromoted(promoted) => {
                roster.waiting -= 1;
                roster.taken += 1;
                let change = self.registration(promoted.registration_id, version, RegistrationStatus::Confirmed);
                change.confirmed_at = Some(at);
            }
            RegistrationEvent::AttendeeCheckedIn(checked_in) => {
                let change = self.registration(checked_in.registration_id, version, RegistrationStatus::CheckedIn);
                change.checked_in_at = Some(checked_in.checked_in_at.to_utc());
            }
            RegistrationEvent::RegistrationCancelled(cancelled) => {
                if cancelled.had_seat {
                    roster.taken -= 1;
                } else {
                    roster.waiting -= 1;
                }
                let change = self.registration(cancelled.registration_id, version, RegistrationStatus::Cancelled);
                change.cancelled_at = Some(at);
                change.cancel_reason = Some(cancelled.reason.into());
            }
        }
    }

    fn registration(&mut self, id: Uuid, version: i64, status: RegistrationStatus) -> &mut RegistrationChange {
        let change = self.registrations.entry(id).or_insert(RegistrationChange {
            new: None,
            status,
            confirmed_at: None,
            checked_in_at: None,
            cancelled_at: None,
            cancel_reason: None,
            version,
        });
        change.status = status;
        change.version = version;
        change
    }
}

fn new_registration(event_id: Uuid, user_id: Uuid, position: i64, registered_at: DateTime<Utc>) -> NewRegistration {
    NewRegistration {
        event_id,
        user_id,
        position,
        registered_at,
    }
}
