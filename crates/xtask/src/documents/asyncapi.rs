//! `docs/asyncapi.json`: the topic table as AsyncAPI 3.0.
//!
//! Sources: <https://www.asyncapi.com/docs/reference/specification/v3.0.0>, and its Kafka binding 0.5.0. The schema of
//! that version allows it, which `scripts/lint-deploy` checks.

use contracts::{Kind, RecordType, Topic, topics};
use serde_json::{Map, Value, json};

use super::{COMPATIBILITY, described, short};

const BINDING: &str = "0.5.0";
/// The newest format of Avro schemas that AsyncAPI 3.0 names.
const AVRO: &str = "application/vnd.apache.avro+json;version=1.9.0";
/// Where answers arrive; a command's `reply-to` says so too.
const REPLIES: &str = topics::GATEWAY_REPLIES.name;

pub(super) fn text() -> String {
    let mut document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Rollcall",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What Rollcall's services say to each other over Kafka. Made from crates/contracts and \
                            schemas/ by `cargo xtask asyncapi`: change those. Operations are told from the side of \
                            the topic's owner. A topic's name on the broker begins with `KAFKA_TOPIC_PREFIX`.",
            "license": { "name": env!("CARGO_PKG_LICENSE") },
        },
        "defaultContentType": "application/avro",
        "servers": { "kafka": {
            "host": "{brokers}",
            "protocol": "kafka",
            "variables": { "brokers": {
                "default": "127.0.0.1:9092",
                "description": "`KAFKA_BROKERS` of whoever connects.",
            } },
        } },
        "channels": each(topics::ALL.iter().map(|topic| (topic.name, channel(topic)))),
        "operations": Value::Object(topics::ALL.iter().map(|topic| operation(topic)).collect()),
        "components": {
            "messages": each(topics::ALL.iter().flat_map(|topic| {
                topic.records.iter().map(|record| (record.name, message(topic, record)))
            })),
            "messageTraits": each(KINDS.map(|kind| (trait_name(kind), message_trait(kind)))),
        },
    });
    // Other crates of a build may ask serde_json to keep the order in which things were said.
    document.sort_all_objects();
    let text = serde_json::to_string_pretty(&document).expect("a value is always JSON");
    format!("{text}\n")
}

fn each<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let entries = entries.into_iter().map(|(name, value)| (name.to_owned(), value));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn channel(topic: &Topic) -> Value {
    let (kind, means) = described(topic.kind);
    let references = topic.records.iter().map(|record| {
        let reference = json!({ "$ref": format!("#/components/messages/{}", record.name) });
        (short(record.name), reference)
    });
    json!({
        "address": topic.name,
        "description": means,
        "tags": [{ "name": kind }, { "name": topic.owner }],
        "messages": each(references),
        "bindings": { "kafka": {
            "partitions": topic.partitions,
            "topicConfiguration": each(topic.config().iter().map(|(name, value)| (*name, configured(name, value)))),
            "bindingVersion": BINDING,
        } },
    })
}

/// The binding has a list for the policy, and numbers for the rest.
fn configured(name: &str, value: &str) -> Value {
    match value.parse::<i64>() {
        Ok(number) => number.into(),
        Err(_) if name == "cleanup.policy" => json!([value]),
        Err(_) => value.into(),
    }
}

/// What the owner does with the topic: it says facts and state, and takes commands and replies.
fn operation(topic: &Topic) -> (String, Value) {
    let action = match topic.kind {
        Kind::DomainEvents | Kind::Facts | Kind::State => "send",
        Kind::Commands | Kind::Replies => "receive",
    };
    let mut operation = json!({
        "action": action,
        "channel": { "$ref": format!("#/channels/{}", topic.name) },
        "tags": [{ "name": topic.owner }],
        "messages": on_channel(topic),
    });
    if topic.kind == Kind::Commands {
        operation["reply"] = json!({
            "channel": { "$ref": format!("#/channels/{REPLIES}") },
            "messages": on_channel(&topics::GATEWAY_REPLIES),
        });
    }
    let owner = topic.owner.replace(' ', "-");
    (format!("{owner}.{action}.{}", topic.name), operation)
}

fn on_channel(topic: &Topic) -> Value {
    let reference = |record: &RecordType| {
        let name = short(record.name);
        json!({ "$ref": format!("#/channels/{}/messages/{name}", topic.name) })
    };
    topic.records.iter().map(reference).collect()
}

fn message(topic: &Topic, record: &RecordType) -> Value {
    let schema: Value = serde_json::from_str(record.schema).expect("contracts has parsed it");
    json!({
        "name": record.name,
        "title": short(record.name),
        "summary": record.description,
        "traits": [{ "$ref": format!("#/components/messageTraits/{}", trait_name(topic.kind)) }],
        "headers": {
            "type": "object",
            "properties": { "ce_type": { "const": record.name } },
        },
        "payload": { "schemaFormat": AVRO, "schema": schema },
        "bindings": { "kafka": {
            "key": { "type": "string", "format": "uuid", "description": topic.key },
            "schemaIdLocation": "payload",
            "schemaIdPayloadEncoding": "confluent",
            "schemaLookupStrategy": "TopicRecordNameStrategy",
            "bindingVersion": BINDING,
        } },
        "x-subject": topic.subject(record.name),
        "x-compatibility": COMPATIBILITY,
    })
}

const KINDS: [Kind; 5] = [
    Kind::DomainEvents,
    Kind::Facts,
    Kind::Commands,
    Kind::Replies,
    Kind::State,
];

fn trait_name(kind: Kind) -> &'static str {
    match kind {
        Kind::DomainEvents => "domainEvent",
        Kind::Facts => "fact",
        Kind::Commands => "command",
        Kind::Replies => "reply",
        Kind::State => "state",
    }
}

/// The headers: CloudEvents 1.0 in the Kafka binding's binary mode.
fn message_trait(kind: Kind) -> Value {
    let uuid = |what: &str| json!({ "type": "string", "format": "uuid", "description": what });
    let time = |what: &str| json!({ "type": "string", "format": "date-time", "description": what });
    let text = |what: &str| json!({ "type": "string", "description": what });
    let matching = |pattern: &str, what: &str| json!({ "type": "string", "pattern": pattern, "description": what });
    let mut required = vec![
        ("ce_specversion", json!({ "const": "1.0" })),
        ("ce_id", uuid("The message. A copy has the same.")),
        ("ce_source", matching("^/rollcall/", "Who says it.")),
        ("ce_type", text("The record's full name.")),
        ("ce_time", time("When it was said.")),
        ("ce_subject", uuid("Equal to the key.")),
        ("ce_correlationid", uuid("The operation that all of this belongs to.")),
        ("content-type", json!({ "const": "application/avro" })),
    ];
    let mut optional = vec![
        (
            "ce_dataschema",
            matching("^urn:rollcall:schema:[0-9]+$", "The schema, by its id in the registry."),
        ),
        ("ce_causationid", uuid("The message that led to this one.")),
        ("ce_actor", matching("^(user|admin|service):", "On whose behalf.")),
        ("traceparent", text("W3C Trace Context.")),
        ("tracestate", text("W3C Trace Context.")),
    ];
    match kind {
        Kind::DomainEvents | Kind::State => {
            required.push((
                "ce_sequence",
                matching("^[0-9]{19}$", "The number within topic and key."),
            ));
        }
        Kind::Commands => optional.extend([
            (
                "ce_attempt",
                matching("^[0-9]+$", "How often the command was deferred before."),
            ),
            ("ce_dueat", time("When a delayed command falls due.")),
            (
                "ce_expectedversion",
                matching("^[0-9]+$", "The aggregate's version that the sender saw."),
            ),
            ("reply-to", text("The topic, with its prefix, that the answer goes to.")),
        ]),
        Kind::Facts | Kind::Replies => {}
    }
    let names: Vec<_> = required.iter().map(|(name, _)| *name).collect();
    json!({
        "contentType": "application/avro",
        "correlationId": { "location": "$message.header#/ce_correlationid" },
        "headers": {
            "type": "object",
            "required": names,
            "properties": each(required.into_iter().chain(optional)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        serde_json::from_str(&text()).expect("JSON")
    }

    /// Every `$ref`, wherever it is.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(entries) => {
                found.extend(entries.get("$ref").and_then(Value::as_str).map(str::to_owned));
                entries.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_topic_and_message_is_in_it() {
        let document = document();
        let count = |pointer: &str| document.pointer(pointer).and_then(Value::as_object).map(Map::len);
        let records = topics::ALL.iter().map(|topic| topic.records.len()).sum();
        assert_eq!(count("/channels"), Some(topics::ALL.len()));
        assert_eq!(count("/operations"), Some(topics::ALL.len()));
        assert_eq!(count("/components/messages"), Some(records));
    }

    #[test]
    fn a_message_says_how_it_travels() {
        let document = document();
        let message = &document["components"]["messages"]["rollcall.users.UserCreated"];
        assert_eq!(message["payload"]["schema"]["name"], "UserCreated");
        assert_eq!(message["x-subject"], "users-rollcall.users.UserCreated");
        let channel = &document["channels"]["users"]["bindings"]["kafka"];
        assert_eq!(channel["topicConfiguration"]["retention.ms"], -1);
        let required = &document["components"]["messageTraits"]["domainEvent"]["headers"]["required"];
        assert!(
            required
                .as_array()
                .is_some_and(|names| names.contains(&"ce_sequence".into()))
        );
        assert_eq!(
            document["operations"]["user.receive.users.commands"]["reply"]["channel"]["$ref"],
            "#/channels/gateway.replies"
        );
    }
}
