//! What is wrong with a request, field by field.

use std::str::FromStr;

use contracts::{Date, FieldError, Timestamp};
use uuid::Uuid;

use crate::error::Error;
use crate::problem::{LONGEST_FIELD, clipped};

/// Collects faults, so that a client hears of all of them at once.
#[derive(Debug, Default)]
pub(super) struct Form {
    errors: Vec<FieldError>,
}

/// What is wrong with one field. Its name is shortened, because a client may have invented it.
pub(super) fn fault(field: &str, code: &str, message: &str) -> FieldError {
    FieldError {
        field: clipped(field, LONGEST_FIELD),
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

impl Form {
    pub(super) fn add(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    pub(super) fn check(&mut self, is_right: bool, field: &str, code: &str, message: &str) {
        if !is_right {
            self.add(fault(field, code, message));
        }
    }

    /// A time, as RFC 3339 text. What can't be read is noted, and the beginning of time stands in.
    pub(super) fn time(&mut self, field: &str, text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap_or_else(|_| {
            self.add(fault(field, "malformed", "A time like 2026-03-01T18:00:00Z."));
            Timestamp::EPOCH
        })
    }

    /// A calendar date.
    pub(super) fn date(&mut self, field: &str, text: &str) -> Date {
        Date::parse(text).unwrap_or_else(|_| {
            self.add(fault(field, "malformed", "A date like 2001-03-01."));
            Timestamp::EPOCH.date()
        })
    }

    /// With its hyphens, as RFC 9562 writes it.
    pub(super) fn uuid(&mut self, field: &str, text: &str) -> Uuid {
        let id = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
        id.unwrap_or_else(|| {
            self.add(fault(field, "malformed", "A UUID."));
            Uuid::nil()
        })
    }

    /// One line that says something.
    pub(super) fn title(&mut self, field: &str, text: &str, longest: usize) {
        self.check(!text.trim().is_empty(), field, "required", "Something is needed here.");
        self.line(field, text, longest);
    }

    /// One line, or nothing.
    pub(super) fn line(&mut self, field: &str, text: &str, longest: usize) {
        self.length(field, text, longest);
        let one = !text.chars().any(char::is_control);
        self.check(one, field, "malformed", "One line of text.");
    }

    /// Some lines, or nothing.
    pub(super) fn text(&mut self, field: &str, text: &str, longest: usize) {
        self.length(field, text, longest);
        let is_unprintable = |char: char| char.is_control() && !matches!(char, '\n' | '\r' | '\t');
        let printable = !text.chars().any(is_unprintable);
        self.check(printable, field, "malformed", "Text without control characters.");
    }

    fn length(&mut self, field: &str, text: &str, longest: usize) {
        let fits = text.chars().count() <= longest;
        self.check(fits, field, "too-long", &format!("At most {longest} characters."));
    }

    /// The name of a time zone that there is.
    pub(super) fn time_zone(&mut self, field: &str, name: &str) {
        let is_there = chrono_tz::Tz::from_str(name).is_ok();
        self.check(is_there, field, "unknown", "An IANA time zone like Europe/Berlin.");
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        match self.errors.is_empty() {
            true => Ok(()),
            false => Err(Error::Invalid(self.errors)),
        }
    }
}
