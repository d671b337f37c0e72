//! Rules: the files under `schemas/` match the topic table, and personal fields are only on topics that can be erased.

use std::collections::BTreeMap;

use contracts::Kind;
use serde_json::Value;

use super::Finding;
use crate::tree::Tree;

/// The attributes of a topic that the rules need.
pub(crate) struct Topic {
    name: &'static str,
    kind: Kind,
    /// Full names of the records.
    records: Vec<&'static str>,
}

/// Returns the topic table of `contracts`.
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
            let message = "no topic of crates/contracts has this record, so it would not be registered or documented";
            findings.push(Finding::new(&file.path, 0, message));
            continue;
        };
        let Ok(schema) = serde_json::from_str(&file.text) else {
            findings.push(Finding::new(&file.path, 0, "the file is not valid JSON"));
            continue;
        };
        if !matches!(topic.kind, Kind::Commands | Kind::State) && has_personal_field(&schema) {
            let message = format!(
                "the topic {} must not have personal fields: only commands, which expire after days, and state, which a \
                 tombstone deletes, may have them, because personal data must be erasable",
                topic.name
            );
            findings.push(Finding::new(&file.path, 0, message));
        }
    }
    findings.extend(declared.into_keys().map(|path| {
        Finding::new(
            path,
            0,
            "the file of a record in the topic table is missing: the files are the source of truth",
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
    fn personal_fields_that_cannot_be_erased_are_found() {
        for kind in [Kind::Commands, Kind::State] {
            assert_found(&found(kind, &[(PATH, PERSONAL)]), &[]);
        }
        for kind in [Kind::DomainEvents, Kind::Facts, Kind::Replies] {
            assert_found(
                &found(kind, &[(PATH, PERSONAL)]),
                &["schemas/users/UserCreated.avsc: the topic users must not have personal fields"],
            );
            assert_found(&found(kind, &[(PATH, r#"{ "fields": [] }"#)]), &[]);
        }
    }

    #[test]
    fn differences_between_files_and_table_are_found() {
        let other = ("schemas/users/UserRenamed.avsc", "{}");
        assert_found(
            &found(Kind::DomainEvents, &[other]),
            &[
                "schemas/users/UserRenamed.avsc: no topic",
                "schemas/users/UserCreated.avsc: the file of a record",
            ],
        );
        assert_found(
            &found(Kind::DomainEvents, &[(PATH, "{")]),
            &["schemas/users/UserCreated.avsc: the file is not valid JSON"],
        );
    }
}
