//! Rules for every operation of the OpenAPI document.

use std::collections::BTreeSet;

use serde_json::Value;

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let mut operations = Vec::new();
    for (path, methods) in paths {
        for method in ["get", "post", "put", "patch", "delete"] {
            if let Some(operation) = methods.get(method) {
                operations.push((format!("{method} {path}"), operation));
            }
        }
    }
    operations
}

#[test]
fn every_operation_is_named_described_and_tagged() {
    let document = gateway::api::document();
    let tags: BTreeSet<&str> = (document["tags"].as_array().expect("tags").iter())
        .map(|tag| tag["name"].as_str().expect("a name"))
        .collect();
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let id = operation["operationId"]
            .as_str()
            .unwrap_or_else(|| panic!("{name} has no operationId"));
        assert!(ids.insert(id), "{id} is used twice");
        assert!(
            id.chars().all(|char| char.is_ascii_alphanumeric()) && id.starts_with(char::is_lowercase),
            "{id}"
        );
        assert!(operation["summary"].is_string(), "{name} has no summary");
        let tag = operation["tags"][0]
            .as_str()
            .unwrap_or_else(|| panic!("{name} has no tag"));
        assert!(tags.contains(tag), "{name}: {tag}");
    }
}

#[test]
fn every_operation_declares_its_responses() {
    let document = gateway::api::document();
    for (name, operation) in operations(&document) {
        let responses = operation["responses"].as_object().expect("responses");
        let declares = |status: &str| responses.contains_key(status);
        assert!(!declares("default"), "{name}");
        assert!(responses.keys().any(|status| status.starts_with('2')), "{name}");
        assert!(declares("429") && declares("503") && declares("401"), "{name}");
        assert_eq!(declares("404"), name.contains('{'), "{name}");
        if !name.starts_with("get ") {
            assert!(["400", "413", "415", "422"].into_iter().all(declares), "{name}");
        }
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let if_match = parameters.iter().any(|parameter| parameter["name"] == "If-Match");
        assert_eq!(declares("412"), if_match, "{name}");
        if let Some(accepted) = responses.get("202") {
            assert!(accepted["headers"]["Location"].is_object(), "{name}");
        }
        for (status, response) in responses {
            let reference = response["$ref"].as_str();
            match reference {
                Some(reference) => {
                    let at = reference.trim_start_matches('#');
                    assert!(document.pointer(at).is_some(), "{name} {status}: {reference}");
                }
                None => assert!(status.starts_with('2'), "{name} {status}"),
            }
        }
    }
}

#[test]
fn every_request_body_has_an_example_and_forbids_unknown_fields() {
    let document = gateway::api::document();
    for (name, operation) in operations(&document) {
        let Some(content) = operation["requestBody"]["content"].as_object() else {
            continue;
        };
        assert_eq!(content.keys().collect::<Vec<_>>(), ["application/json"], "{name}");
        let reference = content["application/json"]["schema"]["$ref"].as_str();
        let reference = reference.unwrap_or_else(|| panic!("{name} has a body without a named schema"));
        let schema = document
            .pointer(reference.trim_start_matches('#'))
            .expect("the schema exists");
        assert_eq!(schema["additionalProperties"], false, "{name}");
        assert!(
            schema["example"].is_object() || schema["examples"].is_array(),
            "{name} has no example"
        );
        for (field, property) in schema["properties"].as_object().expect("properties") {
            let is_text = property["type"] == "string";
            let is_bound = ["maxLength", "format", "enum", "pattern"]
                .iter()
                .any(|bound| property.get(bound).is_some());
            assert!(!is_text || is_bound, "{name}: {field} has no bounds");
        }
    }
}

#[test]
fn a_body_without_required_fields_is_optional() {
    let document = gateway::api::document();
    for (name, operation) in operations(&document) {
        let body = &operation["requestBody"];
        let Some(reference) = body["content"]["application/json"]["schema"]["$ref"].as_str() else {
            continue;
        };
        let schema = document.pointer(reference.trim_start_matches('#'));
        let is_required = schema.expect("the schema exists")["required"].is_array();
        assert_eq!(body["required"] == true, is_required, "{name}");
    }
}

#[test]
fn no_type_is_nullable() {
    let document = gateway::api::document().to_string();
    assert!(!document.contains("\"null\""));
}
