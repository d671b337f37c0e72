//! Comma-separated values (RFC 4180), for spreadsheets.

/// The media type, with a header line.
pub const CONTENT_TYPE: &str = "text/csv; charset=utf-8; header=present";

/// Appends one line. Every field is put into quotation marks.
///
/// A spreadsheet runs a field that begins like a formula, and people choose their own names: such a field gets an
/// apostrophe in front, which a spreadsheet reads as "this is text" (OWASP, CSV injection).
pub fn line<'a>(text: &mut String, fields: impl IntoIterator<Item = &'a str>) {
    for (index, field) in fields.into_iter().enumerate() {
        text.push_str(if index == 0 { "\"" } else { ",\"" });
        if looks_like_a_formula(field) {
            text.push('\'');
        }
        for char in field.chars() {
            match char {
                '"' => text.push_str("\"\""),
                char => text.push(char),
            }
        }
        text.push('"');
    }
    text.push_str("\r\n");
}

/// Also in full width, and behind white space: some programs take that away.
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
    fn marks_commas_and_line_breaks_stay_in_their_field() {
        assert_eq!(rendered(&["a", "b,c", ""]), "\"a\",\"b,c\",\"\"\r\n");
        assert_eq!(rendered(&["say \"hi\"\r\nto all"]), "\"say \"\"hi\"\"\r\nto all\"\r\n");
    }

    #[test]
    fn a_formula_is_text() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\u{a0}=1", "＝1", "\r=1"] {
            assert!(rendered(&[formula]).starts_with("\"'"), "{formula:?}");
        }
        assert_eq!(rendered(&["Ada = Bob"]), "\"Ada = Bob\"\r\n");
    }
}
