//! Each Rust type matches its `.avsc`, field by field: names, order and types.

mod tracer;

use contracts::Record;
use serde::Deserialize;
use serde_json::Value;

use self::tracer::rust_shape;
use crate::samples::{Visitor, visit_all};

#[test]
fn every_rust_type_matches_its_schema_file() {
    struct Compare;
    impl Visitor for Compare {
        fn visit<R: Record>(&mut self, _: R) {
            assert_eq!(rust_shape::<R>(), avro_shape(R::SCHEMA), "{}", R::NAME);
        }
    }
    visit_all(&mut Compare);
}

#[test]
fn every_kind_of_difference_is_detected() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its shape is compared")]
    struct Sample {
        id: uuid::Uuid,
        at: contracts::Timestamp,
        count: i64,
        note: Option<String>,
    }
    let field = |name: &str, ty: &str| format!(r#"{{ "name": "{name}", "type": {ty} }}"#);
    let schema = |fields: &[String]| {
        format!(
            r#"{{ "type": "record", "name": "Sample", "fields": [{}] }}"#,
            fields.join(", ")
        )
    };
    let id = field("id", r#"{ "type": "string", "logicalType": "uuid" }"#);
    let at = field("at", r#"{ "type": "long", "logicalType": "timestamp-micros" }"#);
    let count = field("count", r#""long""#);
    let note = field("note", r#"["null", "string"]"#);
    let rust = rust_shape::<Sample>();

    assert_eq!(
        rust,
        avro_shape(&schema(&[id.clone(), at.clone(), count.clone(), note.clone()]))
    );
    for (difference, fields) in [
        ("missing", vec![id.clone(), at.clone(), count.clone()]),
        (
            "renamed",
            vec![id.clone(), at.clone(), field("number", r#""long""#), note.clone()],
        ),
        ("reordered", vec![at.clone(), id.clone(), count.clone(), note.clone()]),
        (
            "narrower",
            vec![id.clone(), at.clone(), field("count", r#""int""#), note.clone()],
        ),
        (
            "no uuid",
            vec![field("id", r#""string""#), at.clone(), count.clone(), note.clone()],
        ),
        (
            "no time",
            vec![id.clone(), field("at", r#""long""#), count.clone(), note.clone()],
        ),
        (
            "a time",
            vec![
                id.clone(),
                at.clone(),
                field("count", r#"{ "type": "long", "logicalType": "timestamp-micros" }"#),
                note,
            ],
        ),
        ("not nullable", vec![id, at, count, field("note", r#""string""#)]),
    ] {
        assert_ne!(rust, avro_shape(&schema(&fields)), "{difference}");
    }
}

/// The shape of a type, derived from serde on one side and from the `.avsc` on the other.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Unknown,
    Boolean,
    Int,
    Long,
    Date,
    Time,
    Text,
    Uuid,
    Enum(String, Vec<String>),
    Nullable(Box<Shape>),
    Array(Box<Shape>),
    Record(String, Vec<(String, Shape)>),
}

fn avro_shape(schema: &str) -> Shape {
    fn text(value: &Value) -> String {
        value.as_str().expect("a string").to_owned()
    }
    fn shape(schema: &Value) -> Shape {
        let name = |schema: &Value| text(&schema["name"]);
        if let Some([null, other]) = schema.as_array().map(Vec::as_slice) {
            assert_eq!(null, "null", "null must be first, so it can be the default");
            return Shape::Nullable(Box::new(shape(other)));
        }
        let ty = schema.as_str().or_else(|| schema["type"].as_str()).expect("a type");
        match (ty, schema["logicalType"].as_str()) {
            ("boolean", None) => Shape::Boolean,
            ("int", None) => Shape::Int,
            ("long", None) => Shape::Long,
            ("int", Some("date")) => Shape::Date,
            ("long", Some("timestamp-micros")) => Shape::Time,
            ("string", None) => Shape::Text,
            ("string", Some("uuid")) => Shape::Uuid,
            ("enum", None) => Shape::Enum(
                name(schema),
                schema["symbols"]
                    .as_array()
                    .expect("symbols")
                    .iter()
                    .map(text)
                    .collect(),
            ),
            ("array", None) => Shape::Array(Box::new(shape(&schema["items"]))),
            ("record", None) => {
                let fields = schema["fields"].as_array().expect("fields");
                Shape::Record(
                    name(schema),
                    fields
                        .iter()
                        .map(|field| (name(field), shape(&field["type"])))
                        .collect(),
                )
            }
            other => panic!("this test does not support the type {other:?}"),
        }
    }
    shape(&serde_json::from_str(schema).expect("the schema is JSON"))
}
