//! Bodies of the writes to events, and their validation.

use std::ops::RangeInclusive;

use contracts::{CancelEvent, ChangeEvent, CreateEvent, RescheduleEvent, Timestamp};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::form::Form;
use crate::error::Error;

/// A new event.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "title": "Analytical Engines", "description": "An *evening* with punched cards.", "venue": "Somerset House",
    "starts_at": "2099-03-01T18:00:00Z", "ends_at": "2099-03-01T21:00:00Z", "time_zone": "Europe/London",
    "capacity": 120, "waiting_list": true
}))]
pub(in crate::api) struct NewEvent {
    /// One line.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\u0000-\u001F\u007F-\u009F]*[^\s\u0000-\u001F\u007F-\u009F][^\u0000-\u001F\u007F-\u009F]*$"
    )]
    title: String,
    /// Markdown.
    #[serde(default)]
    #[schema(
        max_length = 20_000,
        pattern = r"^[^\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F]*$"
    )]
    description: String,
    /// One line.
    #[serde(default)]
    #[schema(max_length = 200, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$")]
    venue: String,
    /// Must be in the future.
    #[schema(format = DateTime)]
    starts_at: String,
    /// Must be after the start.
    #[schema(format = DateTime)]
    ends_at: String,
    /// IANA name of the time zone of the venue.
    #[schema(
        max_length = 64,
        pattern = "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$",
        examples("Europe/Berlin")
    )]
    time_zone: String,
    /// Number of seats.
    #[schema(minimum = 1, maximum = 1_000_000)]
    capacity: i32,
    /// Must be before registration closes. The default is the time of publication.
    #[schema(format = DateTime)]
    registration_opens_at: Option<String>,
    /// Must not be after the start. The default is the start.
    #[schema(format = DateTime)]
    registration_closes_at: Option<String>,
    /// `true` if users can join a waiting list when all seats are taken.
    #[serde(default)]
    waiting_list: bool,
}

/// Changes of an event. Omitted fields keep their value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "title": "Difference Engines", "capacity": 150 }))]
pub(in crate::api) struct EventChanges {
    /// One line.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\u0000-\u001F\u007F-\u009F]*[^\s\u0000-\u001F\u007F-\u009F][^\u0000-\u001F\u007F-\u009F]*$"
    )]
    title: Option<String>,
    /// Markdown.
    #[schema(
        max_length = 20_000,
        pattern = r"^[^\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F]*$"
    )]
    description: Option<String>,
    /// One line.
    #[schema(max_length = 200, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$")]
    venue: Option<String>,
    /// Can only be changed while the event is a draft.
    #[schema(format = DateTime)]
    starts_at: Option<String>,
    /// Can only be changed while the event is a draft.
    #[schema(format = DateTime)]
    ends_at: Option<String>,
    /// IANA name of the time zone of the venue.
    #[schema(max_length = 64, pattern = "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")]
    time_zone: Option<String>,
    /// Number of seats.
    #[schema(minimum = 1, maximum = 1_000_000)]
    capacity: Option<i32>,
    /// Must be before registration closes.
    #[schema(format = DateTime)]
    registration_opens_at: Option<String>,
    /// Must not be after the start.
    #[schema(format = DateTime)]
    registration_closes_at: Option<String>,
    /// `true` if users can join a waiting list when all seats are taken.
    waiting_list: Option<bool>,
}

/// The new times of an event.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "starts_at": "2099-03-08T18:00:00Z", "ends_at": "2099-03-08T21:00:00Z" }))]
pub(in crate::api) struct NewTimes {
    /// Must be in the future.
    #[schema(format = DateTime)]
    starts_at: String,
    /// Must be after the start.
    #[schema(format = DateTime)]
    ends_at: String,
    /// IANA name of the time zone of the venue. The default is the current value.
    #[schema(max_length = 64, pattern = "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")]
    time_zone: Option<String>,
    /// The default is the current value.
    #[schema(format = DateTime)]
    registration_opens_at: Option<String>,
    /// Must not be after the start. The default is the current value.
    #[schema(format = DateTime)]
    registration_closes_at: Option<String>,
}

/// The cancellation of an event.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "reason": "The engine broke." }))]
pub(in crate::api) struct Cancellation {
    /// Everyone who registered for the event receives this text.
    #[serde(default)]
    #[schema(
        max_length = 500,
        pattern = r"^[^\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F]*$"
    )]
    reason: String,
}

// The gateway checks everything that the OpenAPI document states, so a client receives errors immediately, even if it
// does not wait for the event service. Only the gateway checks that strings are times and that time zones exist.

const MAX_TITLE_CHARS: usize = 200;
const MAX_DESCRIPTION_CHARS: usize = 20_000;
const MAX_VENUE_CHARS: usize = 200;
const MAX_REASON_CHARS: usize = 500;
const SEATS: RangeInclusive<i32> = 1..=1_000_000;

impl NewEvent {
    pub(super) fn parse(self) -> Result<CreateEvent, Error> {
        let mut form = Form::default();
        form.title("title", &self.title, MAX_TITLE_CHARS);
        form.text("description", &self.description, MAX_DESCRIPTION_CHARS);
        form.line("venue", &self.venue, MAX_VENUE_CHARS);
        let starts_at = form.time("starts_at", &self.starts_at);
        let ends_at = form.time("ends_at", &self.ends_at);
        form.time_zone("time_zone", &self.time_zone);
        check_capacity(&mut form, self.capacity);
        let registration_opens_at = optional_time(&mut form, "registration_opens_at", self.registration_opens_at);
        let registration_closes_at = optional_time(&mut form, "registration_closes_at", self.registration_closes_at);
        form.finish()?;
        Ok(CreateEvent {
            title: self.title,
            description: self.description,
            venue: self.venue,
            starts_at,
            ends_at,
            time_zone: self.time_zone,
            capacity: self.capacity,
            registration_closes_at: registration_closes_at.unwrap_or(starts_at),
            waiting_list: self.waiting_list,
            registration_opens_at,
        })
    }
}

impl EventChanges {
    pub(super) fn parse(self) -> Result<ChangeEvent, Error> {
        let mut form = Form::default();
        if let Some(title) = &self.title {
            form.title("title", title, MAX_TITLE_CHARS);
        }
        if let Some(description) = &self.description {
            form.text("description", description, MAX_DESCRIPTION_CHARS);
        }
        if let Some(venue) = &self.venue {
            form.line("venue", venue, MAX_VENUE_CHARS);
        }
        if let Some(capacity) = self.capacity {
            check_capacity(&mut form, capacity);
        }
        let change = ChangeEvent {
            title: self.title,
            description: self.description,
            venue: self.venue,
            starts_at: optional_time(&mut form, "starts_at", self.starts_at),
            ends_at: optional_time(&mut form, "ends_at", self.ends_at),
            time_zone: optional_time_zone(&mut form, self.time_zone),
            capacity: self.capacity,
            registration_opens_at: optional_time(&mut form, "registration_opens_at", self.registration_opens_at),
            registration_closes_at: optional_time(&mut form, "registration_closes_at", self.registration_closes_at),
            waiting_list: self.waiting_list,
        };
        form.finish()?;
        Ok(change)
    }
}

impl NewTimes {
    pub(super) fn parse(self) -> Result<RescheduleEvent, Error> {
        let mut form = Form::default();
        let reschedule = RescheduleEvent {
            starts_at: form.time("starts_at", &self.starts_at),
            ends_at: form.time("ends_at", &self.ends_at),
            time_zone: optional_time_zone(&mut form, self.time_zone),
            registration_opens_at: optional_time(&mut form, "registration_opens_at", self.registration_opens_at),
            registration_closes_at: optional_time(&mut form, "registration_closes_at", self.registration_closes_at),
        };
        form.finish()?;
        Ok(reschedule)
    }
}

impl Cancellation {
    pub(super) fn parse(self) -> Result<CancelEvent, Error> {
        let mut form = Form::default();
        form.text("reason", &self.reason, MAX_REASON_CHARS);
        form.finish()?;
        Ok(CancelEvent { reason: self.reason })
    }
}

fn check_capacity(form: &mut Form, capacity: i32) {
    let is_in_range = SEATS.contains(&capacity);
    form.check(is_in_range, "capacity", "out-of-range", "Must be from 1 to 1,000,000.");
}

fn optional_time(form: &mut Form, field: &str, text: Option<String>) -> Option<Timestamp> {
    text.map(|text| form.time(field, &text))
}

fn optional_time_zone(form: &mut Form, name: Option<String>) -> Option<String> {
    if let Some(name) = &name {
        form.time_zone("time_zone", name);
    }
    name
}
