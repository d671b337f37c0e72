//! Personal data is only where it can be erased.

use contracts::{Codec, Kind, Record, topics};
use serde_json::Value;

use crate::samples::{Visitor, create_user, visit_all};

#[test]
fn personal_fields_are_on_commands_and_state_only() {
    let mut marked = Vec::new();
    for topic in topics::ALL {
        for record in topic.records {
            let fields = personal_fields(&serde_json::from_str(record.schema).expect("JSON"));
            if !fields.is_empty() {
                assert!(
                    matches!(topic.kind, Kind::Commands | Kind::State),
                    "{} on {}",
                    record.name,
                    topic.name
                );
                marked.push((record.name, fields));
            }
        }
    }
    let person = ["email", "username", "full_name", "date_of_birth"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(
        marked,
        [
            ("rollcall.users.profiles.UserProfile", person.clone()),
            ("rollcall.users.commands.CreateUser", person.clone()),
            (
                "rollcall.users.commands.ChangeUser",
                ["email", "full_name", "date_of_birth"].map(str::to_owned).to_vec()
            ),
            ("rollcall.users.commands.VerifyEmail", vec!["email".to_owned()]),
            ("rollcall.ops.commands.CreateAdmin", person)
        ]
    );
}

fn personal_fields(schema: &Value) -> Vec<String> {
    match schema {
        Value::Array(items) => items.iter().flat_map(personal_fields).collect(),
        Value::Object(attributes) if attributes.get("personal") == Some(&Value::Bool(true)) => {
            vec![schema["name"].as_str().expect("a field has a name").to_owned()]
        }
        Value::Object(attributes) => attributes.values().flat_map(personal_fields).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn debug_output_contains_no_personal_value() {
    struct CheckDebug;
    impl Visitor for CheckDebug {
        fn visit<R: Record>(&mut self, sample: R) {
            let personal = personal_fields(&serde_json::from_str(R::SCHEMA).expect("JSON"));
            let codec = Codec::local();
            let framed = codec.encode(&sample).expect("encodes");
            let (_, json) = codec.to_json(&framed).expect("decodes");
            let debug = format!("{sample:?}");
            for field in personal {
                let value = json[&field].as_str().expect("the personal fields render as text");
                assert!(!debug.contains(value), "{debug} shows {field}");
            }
        }
    }
    visit_all(&mut CheckDebug);
}

#[test]
fn json_for_the_audit_log_omits_personal_fields() {
    let codec = Codec::local();
    let framed = codec.encode(&create_user()).expect("encodes");

    let (name, json) = codec.to_json_without_personal(&framed).expect("decodes");

    assert_eq!(name, "rollcall.users.commands.CreateUser");
    assert_eq!(json, serde_json::json!({ "time_zone": "Europe/London" }));
}

#[test]
fn a_currently_personal_field_is_omitted_in_older_versions_without_the_mark() {
    let older = r#"{
        "type": "record", "namespace": "rollcall.users.commands", "name": "CreateUser",
        "fields": [{ "name": "email", "type": "string" }, { "name": "nickname", "type": "string", "personal": true },
                   { "name": "pets", "type": "int" }]
    }"#;
    let codec = Codec::local();
    codec.learn(700, older).expect("valid schema");
    let framed = [&[0, 0, 0, 2, 188, 6][..], b"a@b", &[4], b"Al", &[6]].concat();

    assert_eq!(
        codec.to_json(&framed).expect("decodes").1,
        serde_json::json!({ "email": "a@b", "nickname": "Al", "pets": 3 })
    );
    assert_eq!(
        codec.to_json_without_personal(&framed).expect("decodes").1,
        serde_json::json!({ "pets": 3 })
    );
}

#[test]
fn an_error_contains_no_value() {
    let codec = Codec::local();
    let mut framed = codec.encode(&create_user()).expect("encodes");
    framed.push(0);
    let newer = r#"{
        "type": "record", "namespace": "rollcall.users.commands", "name": "CreateUser",
        "fields": [{ "name": "email", "type": "string" }]
    }"#;
    codec.learn(701, newer).expect("valid schema");
    let other = [&[0, 0, 0, 2, 189, 30][..], b"ada@example.org"].concat();

    for framed in [framed, other] {
        let error = codec.decode::<contracts::CreateUser>(&framed).expect_err("undecodable");
        let mut text = format!("{error:?}");
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = source {
            text += &format!(" {error}");
            source = error.source();
        }
        assert!(!text.contains("ada@"), "{text}");
    }
}
