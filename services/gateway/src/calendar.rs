//! An event as an entry for calendars (iCalendar, RFC 5545).

use chrono::{DateTime, Utc};

use crate::store::events::{Event, EventStatus};

/// The media type.
pub const CONTENT_TYPE: &str = "text/calendar; charset=utf-8; component=VEVENT";

/// Of a line, in bytes, without its end.
const LONGEST_LINE: usize = 75;

/// A calendar with this event alone. Times are UTC, so no time zone has to be explained; what has the same `UID` and
/// a higher `SEQUENCE` takes the place of what a calendar holds.
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
        // Without a METHOD, this is when it changed last.
        &format!("DTSTAMP:{}", time(event.updated_at)),
        &format!("CREATED:{}", time(event.created_at)),
        &format!("DTSTART:{}", time(event.starts_at)),
        &format!("DTEND:{}", time(event.ends_at)),
        &format!("SUMMARY:{}", escaped(&event.title)),
        &format!("DESCRIPTION:{}", escaped(&event.description)),
        &format!("LOCATION:{}", escaped(&event.venue)),
        &format!("STATUS:{status}"),
        "TRANSP:OPAQUE",
        "END:VEVENT",
        "END:VCALENDAR",
    ] {
        fold(&mut text, line);
    }
    text
}

fn time(time: DateTime<Utc>) -> String {
    time.format("%Y%m%dT%H%M%SZ").to_string()
}

/// A text value (section 3.3.11): without control characters, which it may not hold.
fn escaped(text: &str) -> String {
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

/// A content line (section 3.1): what is too long goes on in the next line, after a space.
fn fold(text: &mut String, line: &str) {
    let mut length = 0;
    for char in line.chars() {
        if length + char.len_utf8() > LONGEST_LINE {
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
    fn a_text_has_its_marks_escaped_and_no_control_characters() {
        assert_eq!(escaped("a\\b;c,d\r\ne\nf\rg\u{7}\0h"), "a\\\\b\\;c\\,d\\ne\\nf\\ngh");
        assert_eq!(escaped("no: \"marks\""), "no: \"marks\"");
    }

    #[test]
    fn no_line_is_longer_than_75_bytes_and_no_character_is_cut() {
        let long = format!("SUMMARY:{}{}", "ä".repeat(100), "🎉".repeat(40));
        let mut text = String::new();
        fold(&mut text, &long);
        let lines: Vec<&str> = text.strip_suffix("\r\n").expect("a line end").split("\r\n").collect();
        assert!(lines.len() > 3);
        assert!(lines.iter().all(|line| line.len() <= LONGEST_LINE), "{lines:?}");
        assert!(lines[1..].iter().all(|line| line.starts_with(' ')), "{lines:?}");
        assert_eq!(
            text.strip_suffix("\r\n").expect("a line end").replace("\r\n ", ""),
            long
        );
        let mut short = String::new();
        fold(&mut short, &"x".repeat(LONGEST_LINE));
        assert_eq!(short, format!("{}\r\n", "x".repeat(LONGEST_LINE)));
    }
}
