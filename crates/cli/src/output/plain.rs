//! JSON of any shape as text, because services may return fields that this version does not know.

use serde_json::{Map, Value};

use super::{human_millis, indented, table};

/// Formats an object as a line per field, and a list of objects as a table.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Object(fields) if fields.is_empty() => "nothing".to_owned(),
        Value::Object(fields) => lines(fields),
        Value::Array(rows) if rows.is_empty() => "none".to_owned(),
        Value::Array(rows) if rows.iter().all(Value::is_object) => table_of(rows, &[]),
        Value::Array(items) => items.iter().map(|item| cell("", item)).collect::<Vec<_>>().join("\n"),
        scalar => cell("", scalar),
    }
}

/// Formats a table of those `columns` that at least one row has. If no row has any, shows all fields of the rows.
pub(crate) fn table_of(rows: &[Value], columns: &[&str]) -> String {
    let is_present = |column: &&str| {
        rows.iter()
            .any(|row| row.get(column).is_some_and(|cell| !cell.is_null()))
    };
    let mut shown: Vec<&str> = columns.iter().copied().filter(is_present).collect();
    if shown.is_empty() {
        for row in rows {
            let names = row.as_object().into_iter().flat_map(Map::keys);
            shown.extend(names.map(String::as_str));
        }
        let mut seen = std::collections::HashSet::new();
        shown.retain(|name| seen.insert(*name));
    }
    let headers: Vec<String> = shown.iter().map(|name| header(name)).collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let is_number = |name: &&str| rows.iter().any(|row| row.get(name).is_some_and(Value::is_number));
    let numbers: Vec<&str> = shown
        .iter()
        .zip(&headers)
        .filter(|(name, _)| is_number(name))
        .map(|(_, header)| *header)
        .collect();
    let cells = rows.iter().map(|row| {
        shown
            .iter()
            .map(|name| cell(name, row.get(name).unwrap_or(&Value::Null)))
            .collect()
    });
    table(&headers, &numbers, cells)
}

fn lines(fields: &Map<String, Value>) -> String {
    let width = fields.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |(name, value): (&String, &Value)| match value {
        Value::Object(inner) if !inner.is_empty() => format!("{name}\n{}", indented(&plain(value))),
        Value::Array(rows) if rows.iter().any(Value::is_object) => format!("{name}\n{}", indented(&plain(value))),
        value => format!("{name:width$}  {}", cell(name, value)).trim_end().to_owned(),
    };
    fields.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Returns the header of a column. Drops the suffix `_ms`, because cells show durations with their unit.
fn header(name: &str) -> String {
    let name = match name {
        "said_at" => "occurred_at",
        name => name.strip_suffix("_ms").unwrap_or(name),
    };
    name.replace('_', " ").to_uppercase()
}

fn cell(name: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.chars().map(printable).collect(),
        Value::Number(number) if name.ends_with("_ms") => match number.as_i64() {
            Some(millis) => human_millis(millis),
            None => number.to_string(),
        },
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let items: Vec<_> = items.iter().map(|item| cell("", item)).collect();
            items.join(", ")
        }
        other => other.to_string(),
    }
}

/// Replaces control characters, because text from services must not control the terminal.
fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_become_lines_and_lists_become_tables() {
        let text = plain(&json!({
            "age_ms": 1500, "id": "a", "none": null, "tags": ["x", "y"],
            "rows": [{ "key": "k", "size": 2 }, { "key": "l", "more": true }], "inner": { "deep": [1] }, "empty": {},
        }));
        let mut lines: Vec<_> = text.lines().map(str::trim_end).collect();
        lines.sort_unstable();
        let mut expected = [
            "age_ms  1.5 s",
            "id      a",
            "none",
            "tags    x, y",
            "rows",
            "  KEY  SIZE  MORE",
            "  k       2",
            "  l          true",
            "inner",
            "  deep  1",
            "empty   {}",
        ];
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_table_has_the_known_columns_or_else_all() {
        let rows = [
            json!({ "key": "k", "waiting": 2, "secretly": 1 }),
            json!({ "key": "l" }),
        ];
        assert_eq!(
            table_of(&rows, &["topic", "key", "waiting"]),
            "KEY  WAITING\nk          2\nl"
        );
        assert_eq!(table_of(&[json!({ "other": 1 })], &["topic"]), "OTHER\n    1");
    }

    #[test]
    fn scalars_and_empty_values_become_words() {
        assert_eq!(
            [
                plain(&json!("x")),
                plain(&json!(3)),
                plain(&json!([])),
                plain(&json!({}))
            ],
            ["x", "3", "none", "nothing"]
        );
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(plain(&json!("a\u{1b}[2Jb\nc")), "a [2Jb c");
    }
}
