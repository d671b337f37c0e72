//! An event as an entry for calendars (iCalendar, RFC 5545).
//!
//! The crate `icalendar` is not used, because it writes CR and other control characters of a text value as they are (0.17),
//! so a title could add a property for readers that accept a bare CR as the end of a line.

use chrono::{DateTime, Utc};

use crate::store::events::{Event, EventStatus};

/// The media type of an entry.
pub const CONTENT_TYPE: &str = "text/calendar; charset=utf-8; component=VEVENT";

/// Maximum length of a line without its line break, in bytes.
const MAX_LINE: usize = 75;

/// Returns a calendar that holds only this event.
///
/// All times are UTC, so no time zone has to be defined. A calendar program replaces an entry with the same `UID` and
/// a lower `SEQUENCE`.
pub fn entry(event: &Event) -> String {
    let status = match event.status {
        EventStatus::Draft => "TENTATIVE",
        EventStatus::Published | EventStatus::Ended => "CONFIRMED",
        EventStatus::Cancelled => "CANCELLED",
    };
    let mut text = String::new();
    for line in [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Rollcall//Rollcall//EN",
        "CALSCALE:GREGORIAN",
        "BEGIN:VEVENT",
        &format!("UID:{}", event.id),
        &format!("SEQUENCE:{}", event.version),
        // In a calendar without METHOD, DTSTAMP is the time of the last change.
        &format!("DTSTAMP:{}", time(event.updated_at)),
        &format!("CREATED:{}", time(event.created_at)),
        &format!("DTSTART:{}", time(event.starts_at)),
        &format!("DTEND:{}", time(event.ends_at)),
        &format!("SUMMARY:{}", escape(&event.title)),
        &format!("DESCRIPTION:{}", escape(&event.description)),
        &format!("LOCATION:{}", escape(&event.venue)),
        &format!("STATUS:{status}"),
        "TRANSP:OPAQUE",
        "END:VEVENT",
        "END:VCALENDAR",
    ] {
        fold(&mut text, line);
    }
    text
}

/// Returns a UTC date-time (section 3.3.5).
fn time(time: DateTime<Utc>) -> String {
    time.format("%Y%m%dT%H%M%SZ").to_string()
}

/// Returns a text value (section 3.3.11). Removes control characters, which a text value must not contain.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.replace("\r\n", "\n").chars() {
        match char {
            '\\' | ';' | ',' => escaped.extend(['\\', char]),
            '\n' | '\r' => escaped.push_str("\\n"),
            '\t' => escaped.push('\t'),
            char if char.is_control() => {}
            char => escaped.push(char),
        }
    }
    escaped
}

/// Appends a content line (section 3.1). A line that is too long continues in the next line, after a space.
fn fold(text: &mut String, line: &str) {
    let mut length = 0;
    for char in line.chars() {
        if length + char.len_utf8() > MAX_LINE {
            text.push_str("\r\n ");
            length = 1;
        }
        text.push(char);
        length += char.len_utf8();
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_value_is_escaped_and_has_no_control_characters() {
        assert_eq!(escape("a\\b;c,d\r\ne\nf\rg\u{7}\0h"), "a\\\\b\\;c\\,d\\ne\\nf\\ngh");
        assert_eq!(escape("no: \"marks\""), "no: \"marks\"");
    }

    #[test]
    fn no_line_is_longer_than_75_bytes_and_no_character_is_split() {
        let long = format!("SUMMARY:{}{}", "ä".repeat(100), "🎉".repeat(40));
        let mut text = String::new();
        fold(&mut text, &long);
        let lines: Vec<&str> = text.strip_suffix("\r\n").expect("a line end").split("\r\n").collect();
        assert!(lines.len() > 3);
        assert!(lines.iter().all(|line| line.len() <= MAX_LINE), "{lines:?}");
        assert!(lines[1..].iter().all(|line| line.starts_with(' ')), "{lines:?}");
        assert_eq!(
            text.strip_suffix("\r\n").expect("a line end").replace("\r\n ", ""),
            long
        );
        let mut short = String::new();
        fold(&mut short, &"x".repeat(MAX_LINE));
        assert_eq!(short, format!("{}\r\n", "x".repeat(MAX_LINE)));
    }
}
