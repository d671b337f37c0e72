use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contracts::RegistrationEvent;
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;
use uuid::Uuid;

use super::{failed, sequence, wake};
use crate::operations::Wakes;
use crate::store::registrations::{Begun, RegistrationChange, RegistrationStatus, RosterChange, save, save_rosters};

/// Keeps registrations, and counts the seats of each event.
pub struct Registrations {
    wakes: Wakes,
}

impl Registrations {
    pub fn new(wakes: Wakes) -> Self {
        Self { wakes }
    }
}

impl Handler<Postgres> for Registrations {
    type Message = RegistrationEvent;

    async fn handle(
        &mut self,
        unit: &mut Unit<Postgres>,
        messages: &[&Received<RegistrationEvent>],
    ) -> Result<(), Failure> {
        let mut changes = Changes::default();
        for message in messages {
            changes.take(message);
        }
        let rosters: Vec<_> = changes.rosters.into_iter().collect();
        save_rosters(unit.tx(), &rosters).await.map_err(failed)?;
        let registrations: Vec<_> = changes.registrations.into_iter().collect();
        save(unit.tx(), &registrations).await.map_err(failed)?;
        wake(&self.wakes, messages);
        Ok(())
    }
}

/// What a batch comes to.
#[derive(Debug, Default, PartialEq)]
struct Changes {
    rosters: HashMap<Uuid, RosterChange>,
    registrations: HashMap<Uuid, RegistrationChange>,
}

impl Changes {
    fn take(&mut self, message: &Received<RegistrationEvent>) {
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
                let begun = begun(event_id, seat.user_id, version, at);
                let change = self.registration(seat.registration_id, version, RegistrationStatus::Confirmed);
                change.begun = Some(begun);
                change.confirmed_at = Some(at);
            }
            RegistrationEvent::SeatWaitlisted(place) => {
                roster.waiting += 1;
                let begun = begun(event_id, place.user_id, version, at);
                let change = self.registration(place.registration_id, version, RegistrationStatus::Waitlisted);
                change.begun = Some(begun);
            }
            RegistrationEvent::SeatPromoted(promoted) => {
                roster.waiting -= 1;
                roster.taken += 1;
                let change = self.registration(promoted.registration_id, version, RegistrationStatus::Confirmed);
                change.confirmed_at = Some(at);
            }
            RegistrationEvent::AttendeeCheckedIn(here) => {
                let change = self.registration(here.registration_id, version, RegistrationStatus::CheckedIn);
                change.checked_in_at = Some(here.checked_in_at.to_utc());
            }
            RegistrationEvent::RegistrationCancelled(cancelled) => {
                *(if cancelled.had_seat {
                    &mut roster.taken
                } else {
                    &mut roster.waiting
                }) -= 1;
                let change = self.registration(cancelled.registration_id, version, RegistrationStatus::Cancelled);
                change.cancelled_at = Some(at);
                change.cancel_reason = Some(cancelled.reason.into());
            }
        }
    }

    fn registration(&mut self, id: Uuid, version: i64, status: RegistrationStatus) -> &mut RegistrationChange {
        let change = self.registrations.entry(id).or_insert(RegistrationChange {
            begun: None,
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

fn begun(event_id: Uuid, user_id: Uuid, position: i64, registered_at: DateTime<Utc>) -> Begun {
    Begun {
        event_id,
        user_id,
        position,
        registered_at,
    }
}
