//! Reminders: commands that the service sends to itself, due one day before an event starts.

use std::time::Duration;

use contracts::{NotificationCommand, SendReminder, Timestamp};
use messaging::{AppendError, Cause, Outgoing, Unit};
use mongo::Mongo;
use mongodb::bson;
use uuid::Uuid;

/// Time between a reminder and the start of the event.
const LEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// A confirmed seat: the user to remind, and the event to remind them of.
pub(crate) struct Seat {
    pub(crate) registration: Uuid,
    pub(crate) user: Uuid,
    pub(crate) event: Uuid,
}

/// Publishes a delayed `SendReminder` for this start, unless the time of the reminder has passed.
///
/// The validity of the reminder is checked when the e-mail is sent.
pub(crate) fn schedule_reminder(
    unit: &mut Unit<Mongo>,
    cause: &Cause,
    seat: &Seat,
    starts_at: bson::DateTime,
) -> Result<(), AppendError> {
    let micros = starts_at.timestamp_millis().saturating_mul(1_000);
    let Ok(starts_at) = Timestamp::from_micros(micros) else {
        return Ok(());
    };
    let due_at = starts_at - LEAD;
    if due_at <= Timestamp::now() {
        return Ok(());
    }
    let reminder = SendReminder {
        registration_id: seat.registration,
        user_id: seat.user,
        event_id: seat.event,
        starts_at,
    };
    let reminder = Outgoing::<NotificationCommand>::new(seat.user, reminder).due_at(due_at);
    unit.publish(cause, reminder)
}
