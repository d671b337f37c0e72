//! Output formats: machine-readable JSON, and human-readable tables and sentences.

mod plain;

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
pub(crate) use plain::{plain, table_of};
use serde::Serialize;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints the result as indented JSON or as text.
    pub(crate) fn print(self, result: &impl Serialize, text: impl FnOnce() -> String) {
        print(if self.json {
            serde_json::to_string_pretty(result).expect(SERIALIZES)
        } else {
            text()
        });
    }

    /// Prints one of several results as JSON on one line or as text.
    pub(crate) fn print_compact(self, result: &impl Serialize, text: impl FnOnce() -> String) {
        print(if self.json {
            serde_json::to_string(result).expect(SERIALIZES)
        } else {
            text()
        });
    }
}

const SERIALIZES: &str = "results have string keys and no failing serializer";

fn print(text: impl Display) {
    // A reader that closes the pipe early, such as `head`, is not an error.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Formats a table without lines so that tools such as `awk` can split it. Right-aligns the columns in `numbers`.
pub(crate) fn table(header: &[&str], numbers: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header).add_rows(rows);
    for (column, name) in table.column_iter_mut().zip(header) {
        column.set_padding((0, 2));
        if numbers.contains(name) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// Indents each line by two spaces.
pub(crate) fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

/// Formats a count with its noun: `1 span`, `2 spans`, `2 entries`, `2 keys`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let stem = noun
        .strip_suffix('y')
        .filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match (count, stem) {
        (1, _) => format!("1 {noun}"),
        (count, Some(stem)) => format!("{count} {stem}ies"),
        (count, None) => format!("{count} {noun}s"),
    }
}

/// Formats a duration with a precision that people need.
pub(crate) fn human(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time < Duration::from_millis(10) => format!("{:.2} ms", time.as_secs_f64() * 1e3),
        0 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Formats milliseconds from a message. A negative number, caused by clock differences, is shown as 0.
pub(crate) fn human_millis(millis: i64) -> String {
    match u64::try_from(millis) {
        Ok(0) | Err(_) => "0".to_owned(),
        Ok(millis) => human(Duration::from_millis(millis)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_counts_are_formatted_for_people() {
        let times = [
            42_000,
            12_345_678,
            1_500_000_000,
            61_000_000_000,
            7_200_000_000_000,
            180_000_000_000_000,
        ];
        let texts = times.map(|nanos| human(Duration::from_nanos(nanos)));
        assert_eq!(texts, ["0.04 ms", "12.3 ms", "1.5 s", "1 min", "2 h", "2 d"]);
        assert_eq!(human_millis(-3), "0");
        assert_eq!([counted(0, "span"), counted(1, "span")], ["0 spans", "1 span"]);
        assert_eq!([counted(2, "entry"), counted(2, "key")], ["2 entries", "2 keys"]);
    }
}
