//! Reminders: commands to ourselves that fall due a day before an event begins.

use std::time::Duration;

use contracts::{NotificationCommand, SendReminder, Timestamp};
use messaging::{AppendError, Cause, Outgoing, Unit};
use mongo::Mongo;
use mongodb::bson;
use uuid::Uuid;

/// How long before the start people are reminded.
const LEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// Who is to be reminded, of what.
pub(crate) struct Seat {
    pub(crate) registration: Uuid,
    pub(crate) user: Uuid,
    pub(crate) event: Uuid,
}

/// Reminds of this start in time; not at all where it is too late for that. Whether it is still true is looked
/// at when the mail is sent.
pub(crate) fn remind(
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
