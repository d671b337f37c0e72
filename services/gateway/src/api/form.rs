//! Validation of a request, field by field.

use std::str::FromStr;

use contracts::{Date, FieldError, Timestamp};
use uuid::Uuid;

use crate::error::Error;
use crate::problem::{MAX_FIELD_BYTES, clipped};

/// Collects field errors so that a client receives all of them in one response.
#[derive(Debug, Default)]
pub(super) struct Form {
    errors: Vec<FieldError>,
}

/// Creates the error of one field. The name is shortened, because a client may have invented it.
pub(super) fn field_error(field: &str, code: &str, message: &str) -> FieldError {
    FieldError {
        field: clipped(field, MAX_FIELD_BYTES),
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

impl Form {
    pub(super) fn add(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    /// Adds an error unless `is_valid`.
    pub(super) fn check(&mut self, is_valid: bool, field: &str, code: &str, message: &str) {
        if !is_valid {
            self.add(field_error(field, code, message));
        }
    }

    /// Parses a time (RFC 3339). If the text is malformed, adds an error and returns the epoch.
    pub(super) fn time(&mut self, field: &str, text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap_or_else(|_| {
            let message = "Must be a time in RFC 3339 format, for example 2026-03-01T18:00:00Z.";
            self.add(field_error(field, "malformed", message));
            Timestamp::EPOCH
        })
    }

    /// Parses a calendar date. If the text is malformed, adds an error and returns the day of the epoch.
    pub(super) fn date(&mut self, field: &str, text: &str) -> Date {
        Date::parse(text).unwrap_or_else(|_| {
            let message = "Must be a date, for example 2001-03-01.";
            self.add(field_error(field, "malformed", message));
            Timestamp::EPOCH.date()
        })
    }

    /// Parses a UUID with hyphens (RFC 9562). If the text is malformed, adds an error and returns the nil UUID.
    pub(super) fn uuid(&mut self, field: &str, text: &str) -> Uuid {
        let id = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
        id.unwrap_or_else(|| {
            self.add(field_error(field, "malformed", "Must be a UUID."));
            Uuid::nil()
        })
    }

    /// Checks a single line of text that must not be blank.
    pub(super) fn title(&mut self, field: &str, text: &str, max_chars: usize) {
        self.not_blank(field, text);
        self.line(field, text, max_chars);
    }

    /// Checks that a string is not blank.
    pub(super) fn not_blank(&mut self, field: &str, text: &str) {
        self.check(!text.trim().is_empty(), field, "required", "Must not be blank.");
    }

    /// Checks a single line of text, which may be empty.
    pub(super) fn line(&mut self, field: &str, text: &str, max_chars: usize) {
        self.max_length(field, text, max_chars);
        let is_line = !text.chars().any(char::is_control);
        self.check(
            is_line,
            field,
            "malformed",
            "Must be a single line without control characters.",
        );
    }

    /// Checks a multi-line text, which may be empty.
    pub(super) fn text(&mut self, field: &str, text: &str, max_chars: usize) {
        self.max_length(field, text, max_chars);
        let is_unprintable = |char: char| char.is_control() && !matches!(char, '\n' | '\r' | '\t');
        let is_printable = !text.chars().any(is_unprintable);
        self.check(
            is_printable,
            field,
            "malformed",
            "Must not contain control characters except tabs and line breaks.",
        );
    }

    fn max_length(&mut self, field: &str, text: &str, max_chars: usize) {
        let fits = text.chars().count() <= max_chars;
        self.check(
            fits,
            field,
            "too-long",
            &format!("Must have at most {max_chars} characters."),
        );
    }

    /// Checks that a time zone exists.
    pub(super) fn time_zone(&mut self, field: &str, name: &str) {
        let is_known = chrono_tz::Tz::from_str(name).is_ok();
        self.check(
            is_known,
            field,
            "unknown",
            "Must be an IANA time zone, for example Europe/Berlin.",
        );
    }

    /// # Errors
    /// Returns [`Error::Invalid`] with all collected errors, if there are any.
    pub(super) fn finish(self) -> Result<(), Error> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self.errors))
        }
    }
}
