//! Schemas and data of third parties in which a few bytes represent unlimited data: decoding ends with an error, on a
//! small stack.

use std::thread;

use contracts::{Codec, DeactivateUser, Record as _, codec::Error};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// Returns the schema of `DeactivateUser` with another type for `reason`.
fn command_with(field: Json) -> String {
    json!({
        "type": "record", "namespace": "rollcall.users.commands", "name": "DeactivateUser",
        "fields": [{ "name": "reason", "type": field }],
    })
    .to_string()
}

fn framed(datum: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 3, 232], datum].concat()
}

/// Avro's variable-length zig-zag.
fn number(value: i64) -> Vec<u8> {
    let mut bits = ((value << 1) ^ (value >> 63)) as u64;
    let mut bytes = Vec::new();
    while bits > 0x7f {
        bytes.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    bytes.push(bits as u8);
    bytes
}

/// Returns the result of every decoder for a datum, on a stack of half the size of a worker thread's.
fn decode_all(schema: &str, datum: &[u8]) -> Result<[Result<(), Error>; 3], Error> {
    let (schema, framed) = (schema.to_owned(), framed(datum));
    let decoders = thread::Builder::new().stack_size(1024 * 1024).spawn(move || {
        let codec = Codec::local();
        codec.learn(1000, &schema)?;
        Ok([
            codec.to_json(&framed).map(|(_, json)| drop(json.to_string())),
            codec
                .to_json_without_personal(&framed)
                .map(|(_, json)| drop(json.to_string())),
            codec.decode::<DeactivateUser>(&framed).map(drop),
        ])
    });
    decoders
        .expect("a thread starts")
        .join()
        .expect("no panic, and no overflow")
}

/// Asserts that all decoders reject the datum for this reason.
#[track_caller]
fn assert_rejected(field: Json, datum: &[u8], expected: &str) {
    let outcomes = decode_all(&command_with(field), datum).expect("the schema is within the limits");
    for outcome in outcomes {
        match outcome {
            Err(Error::Datum { reason, .. }) => assert_eq!(reason, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_value_that_is_nested_too_deeply_is_rejected() {
    let tree = json!({ "type": "record", "name": "Tree", "fields": [{ "name": "next", "type": ["null", "Tree"] }] });
    assert_rejected(tree.clone(), &[2; 400], "values are nested too deeply");
    assert_rejected(tree, &[2; 1_000_000], "values are nested too deeply");
    let list = json!({ "type": "record", "name": "List", "fields": [
        { "name": "items", "type": { "type": "array", "items": "List" } },
    ] });
    assert_rejected(list, &[2; 1_000_000], "values are nested too deeply");
    let map = json!({ "type": "record", "name": "Map", "fields": [
        { "name": "items", "type": { "type": "map", "values": "Map" } },
    ] });
    assert_rejected(map, &[2, 0].repeat(100_000), "values are nested too deeply");
    // A datum of this type has no end and takes no bytes.
    let endless = json!({ "type": "record", "name": "Endless", "fields": [{ "name": "next", "type": "Endless" }] });
    assert_rejected(endless, &[], "values are nested too deeply");
}

#[test]
fn a_value_with_the_maximum_depth_is_decoded() {
    let tree = json!({ "type": "record", "name": "Tree", "fields": [{ "name": "next", "type": ["null", "Tree"] }] });
    let datum = [vec![2; 62], vec![0]].concat();
    let [json, without_personal, _] = decode_all(&command_with(tree), &datum).expect("a schema");
    json.expect("it is decoded");
    without_personal.expect("it is decoded");
}

#[test]
fn more_values_than_any_message_has_are_rejected() {
    let array = |items: Json| json!({ "type": "array", "items": items });
    let many = number(10_000_000);
    let nothing = json!({ "type": "record", "name": "Nothing", "fields": [] });
    let empty = json!({ "type": "fixed", "name": "Empty", "size": 0 });
    for items in [json!("null"), nothing, empty, json!(["null"])] {
        assert_rejected(array(items), &many, "there are too many values");
    }
    // The count of a block may be negative, and there may be many blocks.
    let backwards = [number(-10_000_000), number(1)].concat();
    assert_rejected(array(json!("null")), &backwards, "there are too many values");
    let backwards = [number(i64::MIN), number(1)].concat();
    assert_rejected(array(json!("null")), &backwards, "there are too many values");
    assert_rejected(
        array(json!("null")),
        &number(1_000).repeat(200),
        "as text, it would be too large",
    );
    let nested = [number(1_000), number(1_000)].concat();
    assert_rejected(array(array(json!("null"))), &nested, "they end too early");
    let nested = [number(1_000), [number(1_000), number(0)].concat().repeat(1_000)].concat();
    assert_rejected(array(array(json!("null"))), &nested, "as text, it would be too large");
    // 2^40 values in zero bytes.
    let mut doubling = json!({ "type": "record", "name": "R0", "fields": [{ "name": "a", "type": "null" }] });
    for level in 1..40 {
        doubling = json!({ "type": "record", "name": format!("R{level}"), "fields": [
            { "name": "a", "type": doubling }, { "name": "b", "type": format!("R{}", level - 1) },
        ] });
    }
    assert_rejected(doubling, &[], "as text, it would be too large");
    let mut doubling = vec![json!({ "type": "record", "name": "R0", "fields": [{ "name": "a", "type": "null" }] })];
    for level in 1..40 {
        let half = format!("R{}", level - 1);
        doubling.push(json!({ "type": "record", "name": format!("R{level}"), "fields": [
            { "name": "a", "type": half }, { "name": "b", "type": half },
        ] }));
    }
    let choice = number(doubling.len() as i64 - 1);
    assert_rejected(json!(doubling), &choice, "as text, it would be too large");
}

#[test]
fn a_value_with_too_large_a_rendering_is_rejected() {
    let long = "a".repeat(1_000);
    let items = json!({ "type": "record", "name": "Item", "fields": [{ "name": long, "type": "null" }] });
    let many = [number(10_000), number(0)].concat();
    let array_of_long = json!({ "type": "array", "items": items });
    assert_rejected(array_of_long.clone(), &many, "as text, it would be too large");
    let array = json!({ "type": "array", "items": { "type": "enum", "name": "Symbol", "symbols": [long] } });
    let symbols = [number(10_000), vec![0; 10_001]].concat();
    assert_rejected(array, &symbols, "as text, it would be too large");
    // Far below the limit of the largest messages, but too large in relation to the datum.
    let few = [number(100), number(0)].concat();
    assert_rejected(array_of_long, &few, "as text, it would be too large");
    let big = json!({ "type": "bytes", "logicalType": "big-decimal" });
    let digits = [
        number(100_010),
        number(100_000),
        vec![0x55; 100_000],
        number(3),
        vec![0; 6],
    ]
    .concat();
    assert_rejected(big, &digits, "as text, it would be too large");
}

#[test]
fn a_big_decimal_with_inconsistent_lengths_is_rejected() {
    let big = || json!({ "type": "bytes", "logicalType": "big-decimal" });
    let decimal = |parts: &[u8]| [number(parts.len() as i64), parts.to_vec()].concat();
    // The digits are longer than the whole, which ends where the digits end, or in the middle of a number.
    let bad = [
        decimal(&[number(1_000_000), vec![7]].concat()),
        decimal(&[number(3), vec![7; 2]].concat()),
        decimal(&[number(1), vec![7]].concat()),
        decimal(&[number(1), vec![7, 0x80]].concat()),
        decimal(&[]),
    ];
    for datum in bad {
        assert_rejected(big(), &datum, "they end too early");
    }
    assert_rejected(
        big(),
        &decimal(&number(512 << 20)),
        "a length is larger than any message",
    );
    let good = decimal(&[number(2), vec![1, 0], number(1)].concat());
    let outcomes = decode_all(&command_with(big()), &good).expect("the schema is within the limits");
    assert!(outcomes[..2].iter().all(Result::is_ok), "{outcomes:?}");
}

#[test]
fn a_size_beyond_the_datum_is_rejected() {
    for size in [1, 1 << 20] {
        let fixed = json!({ "type": "fixed", "name": "Huge", "size": size });
        assert_rejected(fixed, &[], "they end too early");
        let decimal =
            json!({ "type": "fixed", "name": "Huge", "size": size, "logicalType": "decimal", "precision": 1 });
        assert_rejected(decimal, &[], "they end too early");
    }
    assert_rejected(json!("bytes"), &number(1_000_000), "they end too early");
    assert_rejected(json!("bytes"), &number(i64::MAX), "a length is larger than any message");
    assert_rejected(json!("string"), &number(-1), "a length is larger than any message");
    assert_rejected(
        json!(["null"]),
        &number(i64::MAX),
        "a union has no branch with this index",
    );
    assert_rejected(
        json!(["null"]),
        &number(i64::MIN),
        "a union has no branch with this index",
    );
    assert_rejected(json!("long"), &[0xff; 20], "a number is too long");
}

#[test]
fn a_value_larger_than_any_message_is_rejected() {
    let outcome = decode_all(&command_with(json!("bytes")), &vec![0; 2 * 1024 * 1024]).expect("a schema");
    assert!(
        outcome.iter().all(|outcome| matches!(outcome, Err(Error::TooLarge(_)))),
        "{outcome:?}"
    );
}

#[test]
fn a_schema_beyond_the_limits_is_rejected() {
    let many: Vec<_> = (0..600)
        .map(|index| json!({ "type": "fixed", "name": format!("F{index}"), "size": 1 }))
        .collect();
    let deep = (0..200).fold(json!("null"), |items, _| json!({ "type": "array", "items": items }));
    let large = command_with(json!({ "type": "enum", "name": "E", "symbols": ["a".repeat(70_000)] }));
    let deeper = "[".repeat(30_000);
    let huge = json!({ "type": "fixed", "name": "Huge", "size": 1_u64 << 40 });
    let no_integer = json!({ "type": "fixed", "name": "Huge", "size": u64::MAX });
    let schemas = [json!(many), deep, huge, no_integer].map(command_with);
    for schema in schemas.into_iter().chain([large, deeper]) {
        let outcome = decode_all(&schema, &[]);
        assert!(matches!(outcome, Err(Error::BadSchema { .. })), "{outcome:?}");
    }
}

#[test]
fn docs_defaults_and_aliases_do_not_count_towards_the_limits() {
    let aliases: Vec<_> = (0..1_000).map(|index| format!("A{index}")).collect();
    let schema = json!({
        "type": "record", "namespace": "rollcall.users.commands", "name": "DeactivateUser", "aliases": aliases,
        "doc": "d".repeat(10_000),
        "fields": [
            { "name": "reason", "type": "string", "default": "none" },
            { "name": "more", "type": "int", "default": 7, "aliases": aliases, "doc": "d".repeat(10_000) },
        ],
    });
    let codec = Codec::local();
    codec.learn(1000, &schema.to_string()).expect("a valid schema");
    let decoded = codec
        .decode::<DeactivateUser>(&framed(&[4, b'o', b'k', 14]))
        .expect("it decodes");
    assert_eq!(decoded.reason, "ok");
    assert_eq!(codec.record_name(&framed(&[])).expect("known"), DeactivateUser::NAME);
}

/// Schemas with every kind of type, with conflicting sizes and names, and with types that contain themselves.
fn schema() -> impl Strategy<Value = Json> {
    let simple = prop_oneof![
        Just(json!("null")),
        prop::sample::select(vec!["boolean", "int", "long", "float", "double", "bytes", "string"]).prop_map(Json::from),
        // A reference to an enclosing type, if one exists.
        (0..4_u8).prop_map(|name| json!(format!("T{name}"))),
        Just(json!("DeactivateUser")),
        prop::sample::select(vec![
            ("int", "date"),
            ("int", "time-millis"),
            ("long", "time-micros"),
            ("long", "timestamp-millis"),
            ("long", "timestamp-micros"),
            ("long", "timestamp-nanos"),
            ("long", "local-timestamp-micros"),
            ("string", "uuid"),
            ("bytes", "uuid"),
            ("bytes", "big-decimal"),
            ("bytes", "unknown"),
        ])
        .prop_map(|(name, logical)| json!({ "type": name, "logicalType": logical })),
        (0..40_u8, 0..40_u8).prop_map(|(precision, scale)| json!({
            "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale,
        })),
        (
            0..8_u8,
            prop_oneof![Just(0_u64), Just(1), Just(12), Just(16), any::<u64>()],
            prop::option::of(prop::sample::select(vec!["duration", "uuid", "decimal"]),)
        )
            .prop_map(|(name, size, logical)| json!({
                "type": "fixed", "name": format!("T{name}"), "size": size, "logicalType": logical, "precision": 3,
            })),
        (0..8_u8, 0..3_u8).prop_map(|(name, symbols)| json!({
            "type": "enum", "name": format!("T{name}"),
            "symbols": (0..symbols).map(|symbol| format!("S{symbol}")).collect::<Vec<_>>(),
        })),
    ];
    simple.prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|items| json!({ "type": "array", "items": items })),
            inner
                .clone()
                .prop_map(|values| json!({ "type": "map", "values": values })),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            (0..8_u8, prop::collection::vec(inner, 0..4)).prop_map(|(name, fields)| json!({
                "type": "record", "name": format!("T{name}"),
                "fields": fields.into_iter().enumerate()
                    .map(|(index, field)| json!({ "name": format!("f{index}"), "type": field, "personal": index == 1 }))
                    .collect::<Vec<_>>(),
            })),
        ]
    })
}

/// Bytes that represent counts, lengths and branches more often than random bytes do.
fn datum() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => 0..8_u8, 1 => any::<u8>(), 1 => Just(0xff)];
    let pieces = prop_oneof![
        8 => byte.prop_map(|byte| vec![byte]),
        1 => any::<i64>().prop_map(number),
        1 => (-2_000_000..2_000_000_i64).prop_map(number),
    ];
    prop::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoders_never_panic(field in schema(), datum in datum()) {
        // `decode_all` panics if a decoder panics or overflows its stack.
        if let Ok(outcomes) = decode_all(&command_with(field), &datum) {
            for outcome in outcomes {
                let panicked = matches!(outcome, Err(Error::Datum { reason: "the decoder panicked", .. }));
                prop_assert!(!panicked);
            }
        }
    }
}
