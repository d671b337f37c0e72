//! Comma-separated values (RFC 4180), for spreadsheets.

use std::borrow::Cow;

use ::csv::{QuoteStyle, Terminator, WriterBuilder};

/// The media type of CSV with a header line.
pub const CONTENT_TYPE: &str = "text/csv; charset=utf-8; header=present";

/// Initial size of the buffer of a line, in bytes.
const LINE_CAPACITY: usize = 512;

/// Appends one line. Every field is quoted.
///
/// A field that a spreadsheet would run as a formula gets an apostrophe in front, which marks it as text, because people
/// choose their own names (OWASP, CSV injection).
pub fn line<'a>(text: &mut String, fields: impl IntoIterator<Item = &'a str>) {
    let mut writer = WriterBuilder::new()
        .quote_style(QuoteStyle::Always)
        .terminator(Terminator::CRLF)
        .buffer_capacity(LINE_CAPACITY)
        .from_writer(Vec::with_capacity(LINE_CAPACITY));
    writer
        .write_record(fields.into_iter().map(without_formula))
        .expect("writing to memory does not fail");
    let line = writer.into_inner().expect("writing to memory does not fail");
    text.push_str(std::str::from_utf8(&line).expect("the fields are UTF-8"));
}

fn without_formula(field: &str) -> Cow<'_, [u8]> {
    if looks_like_a_formula(field) {
        Cow::Owned(format!("'{field}").into_bytes())
    } else {
        Cow::Borrowed(field.as_bytes())
    }
}

/// Returns `true` if the field begins like a formula, also in full width and after white space, which some programs strip.
fn looks_like_a_formula(field: &str) -> bool {
    let begins_formula = |char| matches!(char, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠');
    field.starts_with(['\t', '\r', '\n']) || field.trim_start().starts_with(begins_formula)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(fields: &[&str]) -> String {
        let mut text = String::new();
        line(&mut text, fields.iter().copied());
        text
    }

    #[test]
    fn quotation_marks_commas_and_line_breaks_stay_in_their_field() {
        assert_eq!(rendered(&["a", "b,c", ""]), "\"a\",\"b,c\",\"\"\r\n");
        assert_eq!(rendered(&["say \"hi\"\r\nto all"]), "\"say \"\"hi\"\"\r\nto all\"\r\n");
    }

    #[test]
    fn a_formula_is_marked_as_text() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\u{a0}=1", "＝1", "\r=1"] {
            assert!(rendered(&[formula]).starts_with("\"'"), "{formula:?}");
        }
        assert_eq!(rendered(&["Ada = Bob"]), "\"Ada = Bob\"\r\n");
    }
}
