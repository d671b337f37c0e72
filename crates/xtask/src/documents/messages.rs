//! `docs/messages.md`: the topic table for people.

use std::time::Duration;

use contracts::{RecordType, Retention, Topic, topics};
use serde_json::Value;

use super::{COMPATIBILITY, described, short};

const HEAD: &str = "\
<!-- Made by `cargo xtask messages` from crates/contracts and schemas/: change those. -->

# Messages

Every topic and every message on it. [ARCHITECTURE.md](../ARCHITECTURE.md) says how they are delivered, \
[crates/contracts](../crates/contracts/README.md) how to add or change one, and [asyncapi.json](asyncapi.json) has the same \
for programs, with every header.

Values are Avro in the Confluent wire format, keys are UUIDs as text. Times are microseconds since 1970, dates are days \
since 1970. Fields marked *personal* are on commands and state only, where an erasure reaches them.

Every message is `FULL_TRANSITIVE`: each version of its schema reads every other one, so fields come with a default and go \
only if they had one. Whatever else has to change is a message of another name.
";

pub(super) fn text() -> String {
    let mut text = format!(
        "{HEAD}\n| topic | what | owner | key | partitions | kept | messages |\n|---|---|---|---|---|---|---|\n"
    );
    for topic in topics::ALL {
        let Topic {
            name,
            owner,
            key,
            partitions,
            records,
            ..
        } = topic;
        let (kind, anchor) = (described(topic.kind).0, anchor(name));
        let (kept, count) = (kept(topic.retention), records.len());
        text.push_str(&format!(
            "| [`{name}`](#{anchor}) | {kind} | {owner} | {key} | {partitions} | {kept} | {count} |\n"
        ));
    }
    for topic in topics::ALL {
        text.push_str(&format!("\n## {}\n\n{}\n", topic.name, described(topic.kind).1));
        for record in topic.records {
            text.push_str(&message(topic, record));
        }
    }
    text
}

fn message(topic: &Topic, record: &RecordType) -> String {
    let (title, name) = (short(record.name), record.name);
    let (says, subject) = (record.description, topic.subject(name));
    let mut text = format!("\n### {title}\n\n{says}\n\n`{name}`, subject `{subject}`, `{COMPATIBILITY}`\n");
    let schema: Value = serde_json::from_str(record.schema).expect("contracts has parsed it");
    let mut rows = Vec::new();
    fields(&schema, "", &mut rows);
    if rows.is_empty() {
        text.push_str("\nIt has no fields.\n");
    } else {
        text.push_str("\n| field | type | default | |\n|---|---|---|---|\n");
        rows.iter().for_each(|row| text.push_str(row));
    }
    text
}

/// A row for each field of a record, and below it those of the records inside.
fn fields(record: &Value, path: &str, rows: &mut Vec<String>) {
    for field in record["fields"].as_array().into_iter().flatten() {
        let (name, schema) = (field["name"].as_str().unwrap_or_default(), &field["type"]);
        let default = match field.get("default") {
            Some(default) => format!("`{default}`"),
            None => String::new(),
        };
        let personal = match field["personal"] == true {
            true => "*Personal.* ",
            false => "",
        };
        let says = field["doc"].as_str().unwrap_or_default().replace('|', "\\|");
        rows.push(format!(
            "| `{path}{name}` | {} | {default} | {personal}{says} |\n",
            type_of(schema)
        ));
        if let Some((inner, is_list)) = record_in(schema) {
            let list = if is_list { "[]" } else { "" };
            fields(inner, &format!("{path}{name}{list}."), rows);
        }
    }
}

/// The record that a field holds, if it holds one, and whether there may be many.
fn record_in(schema: &Value) -> Option<(&Value, bool)> {
    match schema {
        Value::Array(variants) => variants.iter().find_map(record_in),
        _ if schema["type"] == "record" => Some((schema, false)),
        _ if schema["type"] == "array" => record_in(&schema["items"]).map(|(record, _)| (record, true)),
        _ => None,
    }
}

fn type_of(schema: &Value) -> String {
    if let Value::Array(variants) = schema {
        // Null comes first where it is the default, and is said last.
        let (nulls, others): (Vec<_>, Vec<_>) = variants.iter().partition(|variant| *variant == "null");
        let names: Vec<_> = others.into_iter().chain(nulls).map(type_of).collect();
        return names.join(" or ");
    }
    if let Some(name) = schema.as_str() {
        return name.to_owned();
    }
    let text = |name: &str| schema[name].as_str().unwrap_or_default();
    match (text("logicalType"), text("type")) {
        ("timestamp-micros", _) => "time".to_owned(),
        ("", "array") => format!("list of {}", type_of(&schema["items"])),
        ("", "map") => format!("map to {}", type_of(&schema["values"])),
        ("", "enum") => {
            let symbols = schema["symbols"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            let symbols: Vec<_> = symbols.map(|symbol| format!("`{symbol}`")).collect();
            symbols.join(", ")
        }
        ("", "record") => text("name").to_owned(),
        ("", other) => other.to_owned(),
        (logical, _) => logical.to_owned(),
    }
}

fn kept(retention: Retention) -> String {
    const DAY: u64 = Duration::from_secs(24 * 60 * 60).as_secs();
    match retention {
        Retention::Forever => "for ever".to_owned(),
        Retention::Newest => "the newest of each key".to_owned(),
        Retention::For(time) => match time.as_secs() / DAY {
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        },
    }
}

/// What GitHub makes of a topic's heading.
fn anchor(name: &str) -> String {
    name.chars().filter(|c| *c != '.').collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(field: Value) -> String {
        let mut rows = Vec::new();
        fields(&json!({ "type": "record", "fields": [field] }), "", &mut rows);
        rows.concat()
    }

    #[test]
    fn a_field_is_a_row_with_its_type_default_and_mark() {
        let time = json!({ "type": "long", "logicalType": "timestamp-micros" });
        for (field, row) in [
            (
                json!({ "name": "email", "doc": "Address.", "type": "string", "personal": true }),
                "| `email` | string |  | *Personal.* Address. |\n",
            ),
            (
                json!({ "name": "at", "doc": "When.", "type": ["null", time], "default": null }),
                "| `at` | time or null | `null` | When. |\n",
            ),
            (
                json!({ "name": "ids", "type": { "type": "array", "items": { "type": "string", "logicalType": "uuid" } } }),
                "| `ids` | list of uuid |  |  |\n",
            ),
            (
                json!({ "name": "kind", "type": { "type": "enum", "name": "Kind", "symbols": ["A", "UNKNOWN"] } }),
                "| `kind` | `A`, `UNKNOWN` |  |  |\n",
            ),
        ] {
            assert_eq!(rows(field), row);
        }
    }

    #[test]
    fn fields_of_records_inside_have_a_path() {
        let inner = json!({ "type": "record", "name": "Head", "fields": [{ "name": "size", "type": "long" }] });
        let many = json!({ "name": "heads", "type": { "type": "array", "items": inner } });
        assert!(rows(many).ends_with("| `heads[].size` | long |  |  |\n"));
        let perhaps = json!({ "name": "head", "type": ["null", inner] });
        assert!(
            rows(perhaps).contains("| `head` | Head or null |")
                && rows(json!({ "name": "head", "type": inner })).contains("`head.size`")
        );
    }

    #[test]
    fn every_message_has_its_heading() {
        let text = text();
        for record in topics::ALL.iter().flat_map(|topic| topic.records) {
            assert!(
                text.contains(&format!("\n### {}\n", short(record.name))),
                "{}",
                record.name
            );
        }
    }
}
