//! The memory that decoding one record takes. A binary with a single test, because it measures all allocations.

use contracts::Codec;
use peak_alloc::PeakAlloc;
use serde_json::{Value as Json, json};

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

/// Maximum number of bytes that a decoder may allocate for one record of any schema.
const ALLOWED: usize = 48 * 1024 * 1024;

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

/// Returns an array of arrays, each within the decoder's limit.
fn nested(arrays: i64, items: i64, item: &[u8]) -> Vec<u8> {
    let array = [number(items), item.repeat(items as usize), number(0)].concat();
    [number(arrays), array.repeat(arrays as usize), number(0)].concat()
}

fn array(items: Json) -> Json {
    json!({ "type": "array", "items": items })
}

#[test]
fn a_record_takes_bounded_memory() {
    let wide: Vec<_> = (0..50)
        .map(|index| json!({ "name": format!("field{index}"), "type": "null" }))
        .collect();
    let optional: Vec<_> = (0..50)
        .map(|index| json!({ "name": format!("field{index}"), "type": ["null", "string"] }))
        .collect();
    let record = |fields: &[Json]| json!({ "type": "record", "name": "Item", "fields": fields });
    let map = json!({ "type": "map", "values": "null" });
    let keys: Vec<_> = (0..18_000_u32)
        .flat_map(|key| [&[8][..], format!("{key:04x}").as_bytes()].concat())
        .collect();
    let map_of_many = [number(18_000), keys, number(0)].concat();
    let cases = [
        // Beyond the limits.
        ("a million nulls", array(json!("null")), number(1_000_000)),
        (
            "10,000 nulls in each of 1,000 arrays",
            array(array(json!("null"))),
            nested(1_000, 10_000, &[]),
        ),
        ("a million records", array(record(&wide)), number(1_000_000)),
        (
            "a large fixed",
            json!({ "type": "fixed", "name": "Huge", "size": 1 << 20 }),
            vec![],
        ),
        (
            "a big decimal with digits that it does not have",
            json!({ "type": "bytes", "logicalType": "big-decimal" }),
            [number(7), number(500_000_000), vec![7, 0]].concat(),
        ),
        // Close to the limits.
        ("130,000 nulls", array(array(json!("null"))), nested(13, 10_000, &[])),
        (
            "2,500 records of 50 fields",
            array(record(&wide)),
            [number(2_500), number(0)].concat(),
        ),
        (
            "1,250 records of 50 optional fields",
            array(record(&optional)),
            [number(1_250), vec![0; 50 * 1_250], number(0)].concat(),
        ),
        ("60,000 empty maps", array(array(map.clone())), nested(6, 10_000, &[0])),
        ("18,000 entries of a map", map, map_of_many),
        (
            "60,000 empty strings",
            array(array(json!("string"))),
            nested(6, 10_000, &[0]),
        ),
        (
            "60,000 times",
            array(array(json!({ "type": "long", "logicalType": "timestamp-micros" }))),
            nested(6, 10_000, &[0]),
        ),
        (
            "a megabyte of bytes",
            json!("bytes"),
            [number(1_000_000), vec![7; 1_000_000]].concat(),
        ),
        (
            "a megabyte of text to escape",
            json!("string"),
            [number(1_000_000), vec![1; 1_000_000]].concat(),
        ),
    ];
    let codec = Codec::local();
    for (index, (name, field, datum)) in cases.into_iter().enumerate() {
        let schema = json!({ "type": "record", "name": "ThirdParty", "fields": [{ "name": "field", "type": field }] });
        let id = 1_000 + index as i32;
        let framed = [&[0][..], &id.to_be_bytes(), &datum].concat();
        let before = COUNTED.current_usage();
        COUNTED.reset_peak_usage();
        codec
            .learn(id, &schema.to_string())
            .expect("the schema is within the limits");
        // Like the audit log: with and without personal fields at the same time, and as text.
        let whole = codec.to_json(&framed);
        let kept = codec.to_json_without_personal(&framed);
        let text = kept.as_ref().map(|(_, kept)| kept.to_string()).ok();
        let allocated = COUNTED.peak_usage() - before;
        let outcome = whole.as_ref().map(|_| "decoded").map_err(ToString::to_string);
        eprintln!("{name}: {:.1} MiB, {outcome:?}", allocated as f64 / 1024.0 / 1024.0);
        assert!(allocated < ALLOWED, "{name}: {allocated} bytes");
        drop(text);
        drop(kept);
    }
}
