//! Every schema is fully compatible with every released version of it.
//!
//! `tests/baseline/<tag>.jsonl` holds the schemas of that version, one per line and without docs. A
//! release that changes a schema adds its own file: `NEW_BASELINE=v0.2.0 cargo test -p contracts every_schema_is`. A file
//! is never changed after its release, because its schemas are in registries and its data is in topics.

use std::{fs, path::PathBuf};

use apache_avro::{
    Schema,
    schema_compatibility::{Compatibility, SchemaCompatibility},
};
use contracts::topics;
use serde_json::Value;

/// Tag of the first release. Schemas of earlier commits were never released, so nothing has to read them.
const FIRST_RELEASE: &str = "v0.1.0";

#[test]
fn every_schema_is_compatible_with_all_released_versions() {
    if let Some(tag) = std::env::var_os("NEW_BASELINE") {
        write_baseline(tag.to_str().expect("a tag is UTF-8"));
    }
    let baselines = baselines();
    assert!(
        baselines.iter().any(|(tag, _)| tag == FIRST_RELEASE),
        "{}/{FIRST_RELEASE}.jsonl is missing: restore it from the tag {FIRST_RELEASE}",
        folder().display()
    );
    for (tag, schemas) in baselines {
        assert!(!schemas.is_empty(), "the baseline {tag} has no schema");
        for schema in schemas {
            let released = Schema::parse_str(&schema).unwrap_or_else(|error| panic!("{tag}: {error}: {schema}"));
            let name = released.name().expect("a baseline consists of records").to_string();
            // A record that is no longer written is read by an upcaster, which keeps its own schema.
            let Some(record) = topics::ALL.iter().find_map(|topic| topic.record(&name)) else {
                println!("{tag}: {name} is retired");
                continue;
            };
            let current = Schema::parse_str(record.schema).expect("valid");
            if let Err(reason) = full(&released, &current) {
                panic!("{name} is not compatible with {tag}: {reason}. Give the changed record a new name instead");
            }
        }
    }
}

#[test]
fn the_first_baseline_lists_records_of_every_topic() {
    let baselines = baselines();
    let (_, schemas) = baselines
        .iter()
        .find(|(tag, _)| tag == FIRST_RELEASE)
        .expect("the baseline of the first release exists");
    for topic in topics::ALL {
        let namespace = format!("rollcall.{}.", topic.name.replace('-', "_"));
        let listed = schemas.iter().any(|schema| {
            let schema = Schema::parse_str(schema).expect("a schema");
            schema
                .name()
                .is_some_and(|name| name.to_string().starts_with(&namespace))
        });
        assert!(listed, "{FIRST_RELEASE} has no record of {}", topic.name);
    }
}

#[test]
fn an_incompatible_change_is_found() {
    let record = topics::USERS
        .record("rollcall.users.UserDeactivated")
        .expect("it is declared");
    let current = Schema::parse_str(record.schema).expect("valid");
    let change = |from: &str, to: &str| {
        let text = record.schema;
        assert!(text.contains(from), "{from}");
        full(
            &Schema::parse_str(&text.replacen(from, to, 1)).expect("valid"),
            &current,
        )
    };
    let fields = r#""fields": ["#;

    change(r#""doc": ""#, r#""doc": "Note: "#).expect("another doc");
    change(
        fields,
        r#""fields": [{ "name": "by", "type": "string", "default": "" },"#,
    )
    .expect("a field with a default");
    change(fields, r#""fields": [{ "name": "by", "type": "string" },"#).expect_err("a field without a default");
    change(r#""reason""#, r#""cause""#).expect_err("a new name");
    change(r#""type": "string""#, r#""type": "long""#).expect_err("another type");
    change(r#""type": "string""#, r#""type": ["null", "string"]"#).expect_err("null, which the current schema rejects");
}

/// Returns `Ok` if each of the two schemas reads everything that the other writes.
fn full(one: &Schema, other: &Schema) -> Result<(), String> {
    match SchemaCompatibility::mutual_read(one, other) {
        Ok(Compatibility::Full) => Ok(()),
        Ok(Compatibility::Partial) => Err("one of the two cannot read some values of the other".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/baseline")
}

/// Returns the schemas of each release, by tag.
fn baselines() -> Vec<(String, Vec<String>)> {
    let folder = folder();
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| {
            let file = entry.expect("an entry").path();
            let tag = file
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.strip_suffix(".jsonl"));
            let tag = tag
                .unwrap_or_else(|| panic!("{} is not a baseline", file.display()))
                .to_owned();
            let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            (tag, text.lines().map(str::to_owned).collect())
        })
        .collect()
}

/// Writes today's schemas as the baseline of a new release.
fn write_baseline(tag: &str) {
    let file = folder().join(format!("{tag}.jsonl"));
    assert!(
        !file.exists(),
        "{} exists: a released baseline is never changed",
        file.display()
    );
    let mut records: Vec<_> = topics::ALL.iter().flat_map(|topic| topic.records).collect();
    records.sort_by_key(|record| record.name);
    let lines: String = records
        .into_iter()
        .map(|record| without_docs(serde_json::from_str(record.schema).expect("a schema is JSON")))
        .map(|schema| format!("{schema}\n"))
        .collect();
    fs::create_dir_all(folder()).expect("the folder can be created");
    fs::write(&file, lines).expect("the baseline can be written");
}

fn without_docs(schema: Value) -> Value {
    match schema {
        Value::Array(variants) => variants.into_iter().map(without_docs).collect(),
        Value::Object(attributes) => {
            let kept = attributes.into_iter().filter(|(name, _)| name != "doc");
            Value::Object(kept.map(|(name, value)| (name, without_docs(value))).collect())
        }
        other => other,
    }
}
