//! The files under `schemas/` against the topic table.

use std::collections::BTreeMap;

use contracts::Kind;
use serde_json::Value;

use super::Finding;
use crate::tree::Tree;

/// A topic, as far as this rule goes.
pub(crate) struct Topic {
    name: &'static str,
    kind: Kind,
    /// Full names.
    records: Vec<&'static str>,
}

/// The table of `contracts`.
pub(crate) fn topics() -> Vec<Topic> {
    let topic = |topic: &&'static contracts::Topic| Topic {
        name: topic.name,
        kind: topic.kind,
        records: topic.records.iter().map(|record| record.name).collect(),
    };
    contracts::topics::ALL.iter().map(topic).collect()
}

pub(crate) fn check(tree: &Tree, topics: &[Topic]) -> Vec<Finding> {
    let mut declared: BTreeMap<String, &Topic> = BTreeMap::new();
    for topic in topics {
        for record in &topic.records {
            let name = record.rsplit('.').next().unwrap_or_default();
            declared.insert(format!("schemas/{}/{name}.avsc", topic.name), topic);
        }
    }
    let mut findings = Vec::new();
    for file in tree.files().filter(|file| file.path.starts_with("schemas/")) {
        let Some(topic) = declared.remove(&file.path) else {
            let message = "no topic of crates/contracts has this record: nobody would register, read or document it";
            findings.push(Finding::new(&file.path, 0, message));
            continue;
        };
        let Ok(schema) = serde_json::from_str(&file.text) else {
            findings.push(Finding::new(&file.path, 0, "it is no JSON"));
            continue;
        };
        if !matches!(topic.kind, Kind::Commands | Kind::State) && has_personal_field(&schema) {
            let message = format!(
                "a personal field on the topic {}: only commands, which are gone after days, and state, which a tombstone \
                 deletes, may carry one; else an erasure does not erase",
                topic.name
            );
            findings.push(Finding::new(&file.path, 0, message));
        }
    }
    findings.extend(declared.into_keys().map(|path| {
        Finding::new(
            path,
            0,
            "the topic table has this record, and there is no file: the files are the source of truth",
        )
    }));
    findings
}

fn has_personal_field(schema: &Value) -> bool {
    match schema {
        Value::Array(items) => items.iter().any(has_personal_field),
        Value::Object(attributes) => {
            attributes.get("personal") == Some(&Value::Bool(true)) || attributes.values().any(has_personal_field)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    fn found(kind: Kind, files: &[(&str, &str)]) -> Vec<Finding> {
        let topic = Topic {
            name: "users",
            kind,
            records: vec!["rollcall.users.UserCreated"],
        };
        check(&Tree::of(files), &[topic])
    }

    const PATH: &str = "schemas/users/UserCreated.avsc";
    const PERSONAL: &str =
        r#"{ "fields": [{ "name": "a", "type": { "fields": [{ "name": "b", "personal": true }] } }] }"#;

    #[test]
    fn personal_fields_are_where_they_can_be_erased() {
        for kind in [Kind::Commands, Kind::State] {
            assert_found(&found(kind, &[(PATH, PERSONAL)]), &[]);
        }
        for kind in [Kind::DomainEvents, Kind::Facts, Kind::Replies] {
            assert_found(
                &found(kind, &[(PATH, PERSONAL)]),
                &["schemas/users/UserCreated.avsc: a personal field"],
            );
            assert_found(&found(kind, &[(PATH, r#"{ "fields": [] }"#)]), &[]);
        }
    }

    #[test]
    fn files_and_table_are_the_same() {
        let other = ("schemas/users/UserRenamed.avsc", "{}");
        assert_found(
            &found(Kind::DomainEvents, &[other]),
            &[
                "schemas/users/UserRenamed.avsc: no topic",
                "schemas/users/UserCreated.avsc: the topic table has",
            ],
        );
        assert_found(
            &found(Kind::DomainEvents, &[(PATH, "{")]),
            &["schemas/users/UserCreated.avsc: it is no JSON"],
        );
    }
}
