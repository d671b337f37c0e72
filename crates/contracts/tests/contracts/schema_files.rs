//! The topic table and the files under `schemas/` match.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use contracts::{Kind, Retention, topics};
use serde_json::Value;

#[test]
fn every_schema_file_is_one_record_of_one_topic() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
    let mut files = BTreeSet::new();
    for topic in fs::read_dir(&folder).expect("schemas/") {
        let topic = topic.expect("an entry").path();
        assert!(topic.is_dir(), "{} is not the folder of a topic", topic.display());
        for file in fs::read_dir(&topic).expect("a topic's folder") {
            let file = file.expect("an entry").path();
            files.insert(
                file.strip_prefix(&folder)
                    .expect("below schemas/")
                    .to_str()
                    .expect("UTF-8")
                    .to_owned(),
            );
        }
    }
    let mut declared = BTreeMap::new();
    for topic in topics::ALL {
        for record in topic.records {
            let (namespace, name) = record.name.rsplit_once('.').expect("a full name");
            assert_eq!(namespace, format!("rollcall.{}", topic.name.replace('-', "_")));
            let file = format!("{}/{name}.avsc", topic.name);
            assert!(
                declared.insert(file, record).is_none(),
                "{} is declared twice",
                record.name
            );
        }
    }
    assert_eq!(files, declared.keys().cloned().collect());

    for (file, record) in declared {
        assert_eq!(
            fs::read_to_string(folder.join(&file)).expect("a schema file"),
            record.schema,
            "{file}"
        );
        let schema: Value = serde_json::from_str(record.schema).expect("JSON");
        let full_name = format!(
            "{}.{}",
            schema["namespace"].as_str().unwrap_or_default(),
            schema["name"].as_str().unwrap_or_default()
        );
        assert_eq!(full_name, record.name, "{file}");
        assert_eq!(schema["doc"], record.description, "{file}");
        apache_avro::Schema::parse_str(record.schema).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_well_formed(&file, &schema);
    }
}

/// Checks that everything with a name has docs, every enum has a default symbol, everything nullable defaults to null, and
/// no attribute is misspelled.
fn assert_well_formed(at: &str, schema: &Value) {
    match schema {
        Value::Array(variants) => variants.iter().for_each(|variant| assert_well_formed(at, variant)),
        Value::Object(attributes) => {
            let allowed: &[&str] = match schema["type"].as_str() {
                Some("record") => &["type", "namespace", "name", "doc", "fields"],
                Some("enum") => &["type", "name", "doc", "symbols", "default"],
                Some("array") => &["type", "items"],
                _ => &["type", "logicalType"],
            };
            for attribute in attributes.keys() {
                assert!(allowed.contains(&attribute.as_str()), "{at}: {attribute}");
            }
            if allowed.contains(&"doc") {
                assert_doc(at, schema);
            }
            if schema["type"] == "enum" {
                let symbols = schema["symbols"].as_array().expect("symbols");
                assert_eq!(
                    schema["default"], "UNKNOWN",
                    "{at}: readers need a default for newer symbols"
                );
                assert_eq!(symbols.last(), Some(&Value::from("UNKNOWN")), "{at}");
            }
            assert_well_formed(at, &schema["items"]);
            for field in schema["fields"].as_array().into_iter().flatten() {
                let at = &format!("{at}: {}", field["name"].as_str().expect("a name"));
                for attribute in field.as_object().expect("an object").keys() {
                    assert!(
                        ["name", "doc", "type", "default", "personal"].contains(&attribute.as_str()),
                        "{at}: {attribute}"
                    );
                }
                assert_doc(at, field);
                assert!(
                    matches!(field.get("personal"), None | Some(Value::Bool(true))),
                    "{at}: personal is true or absent"
                );
                if field["type"].is_array() {
                    assert_eq!(field.get("default"), Some(&Value::Null), "{at}");
                }
                assert_well_formed(at, &field["type"]);
            }
        }
        _ => {}
    }
}

fn assert_doc(at: &str, schema: &Value) {
    let doc = schema["doc"].as_str().unwrap_or_else(|| panic!("{at}: no doc"));
    assert!(doc.ends_with('.') && !doc.contains('"'), "{at}: {doc}");
}

#[test]
fn the_retention_of_a_topic_follows_from_its_kind() {
    let mut names = BTreeSet::new();
    for topic in topics::ALL {
        assert!(names.insert(topic.name), "{} is declared twice", topic.name);
        assert_eq!(topics::by_name(topic.name).map(|found| found.name), Some(topic.name));
        assert_eq!(
            topic.partitions,
            if topic.name.starts_with("ops.") { 1 } else { 12 },
            "{}",
            topic.name
        );
        assert!(
            !topic.records.is_empty() && !topic.owner.is_empty() && topic.key.ends_with(" id"),
            "{}",
            topic.name
        );
        let kept = match (topic.kind, topic.retention) {
            (Kind::DomainEvents, kept) => kept == Retention::Forever,
            (Kind::State, kept) => kept == Retention::Newest,
            // Deduplicated by id, and ids are kept for a limited time only.
            (Kind::Facts | Kind::Commands | Kind::Replies, kept) => matches!(kept, Retention::For(_)),
        };
        assert!(kept, "{} is kept {:?}", topic.name, topic.retention);
    }
    assert!(topics::by_name("user").is_none());
    assert_eq!(topics::USERS.full_name("test-1."), "test-1.users");
    assert_eq!(
        topics::DEAD_LETTERS.subject("rollcall.dead_letters.MessageDeadLettered"),
        "dead-letters-rollcall.dead_letters.MessageDeadLettered"
    );
}

#[test]
fn the_configuration_of_a_topic_follows_from_its_retention() {
    let config = |topic: &contracts::Topic| -> Vec<String> {
        topic
            .config()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    };
    assert_eq!(
        config(&topics::USERS),
        [
            "segment.ms=604800000",
            "cleanup.policy=delete",
            "retention.ms=-1",
            "retention.bytes=-1"
        ]
    );
    assert_eq!(
        config(&topics::GATEWAY_REPLIES),
        [
            "segment.ms=12342857",
            "cleanup.policy=delete",
            "retention.ms=86400000",
            "retention.bytes=-1"
        ]
    );
    assert_eq!(
        config(&topics::USERS_PROFILES),
        [
            "segment.ms=3600000",
            "cleanup.policy=compact",
            "max.compaction.lag.ms=86400000",
            "delete.retention.ms=86400000"
        ]
    );
    assert_eq!(topics::USERS.longest_life(), None);
    assert_eq!(
        topics::USERS_COMMANDS.longest_life().map(|life| life.as_secs()),
        Some(8 * 24 * 60 * 60)
    );
}
