use std::collections::HashSet;

use apache_avro::{Schema, types::Value};
use serde_json::Value as Json;

use crate::{Date, Timestamp};

/// Renders times as RFC 3339, dates as `YYYY-MM-DD`, UUIDs and enum symbols as text, and bytes as hexadecimal text.
pub(super) fn render(value: Value) -> Json {
    without(value, &HashSet::new())
}

/// Like [`render`], but without the fields that either schema marks as personal. A name that is marked anywhere in the
/// record is omitted everywhere in it.
pub(super) fn render_without_personal(value: Value, writer: &Schema, current: Option<&Schema>) -> Json {
    let mut personal = HashSet::new();
    collect_personal(writer, &mut personal);
    if let Some(current) = current {
        collect_personal(current, &mut personal);
    }
    without(value, &personal)
}

fn collect_personal<'a>(schema: &'a Schema, personal: &mut HashSet<&'a str>) {
    match schema {
        Schema::Record(record) => {
            for field in &record.fields {
                if field.custom_attributes.get("personal") == Some(&Json::Bool(true)) {
                    personal.insert(&field.name);
                }
                collect_personal(&field.schema, personal);
            }
        }
        Schema::Union(union) => union
            .variants()
            .iter()
            .for_each(|variant| collect_personal(variant, personal)),
        Schema::Array(array) => collect_personal(&array.items, personal),
        Schema::Map(map) => collect_personal(&map.types, personal),
        // A reference points to a type that is defined elsewhere in the same schema.
        _ => {}
    }
}

fn without(value: Value, omitted: &HashSet<&str>) -> Json {
    match value {
        Value::Record(fields) => fields
            .into_iter()
            .filter(|(name, _)| !omitted.contains(name.as_str()))
            .map(|(name, value)| (name, without(value, omitted)))
            .collect(),
        Value::Map(entries) => entries
            .into_iter()
            .filter(|(name, _)| !omitted.contains(name.as_str()))
            .map(|(name, value)| (name, without(value, omitted)))
            .collect(),
        Value::Array(items) => items.into_iter().map(|item| without(item, omitted)).collect(),
        Value::Union(_, value) => without(*value, omitted),
        Value::Null => Json::Null,
        Value::Boolean(value) => value.into(),
        Value::Int(value) | Value::TimeMillis(value) => value.into(),
        Value::Long(value)
        | Value::TimeMicros(value)
        | Value::TimestampNanos(value)
        | Value::LocalTimestampMillis(value)
        | Value::LocalTimestampMicros(value)
        | Value::LocalTimestampNanos(value) => value.into(),
        Value::Float(value) => value.into(),
        Value::Double(value) => value.into(),
        Value::String(value) | Value::Enum(_, value) => value.into(),
        Value::Uuid(value) => value.to_string().into(),
        Value::Date(days) => match Date::from_days(days) {
            Ok(date) => date.to_string().into(),
            Err(_) => days.into(),
        },
        Value::TimestampMicros(micros) => time(micros, Some(micros)),
        Value::TimestampMillis(millis) => time(millis, millis.checked_mul(1000)),
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => hex(&bytes).into(),
        Value::Decimal(decimal) => Vec::try_from(&decimal).map_or(Json::Null, |bytes| hex(&bytes).into()),
        Value::BigDecimal(decimal) => decimal.to_string().into(),
        Value::Duration(duration) => hex(&<[u8; 12]>::from(duration)).into(),
    }
}

fn time(number: i64, micros: Option<i64>) -> Json {
    match micros.map(Timestamp::from_micros) {
        Some(Ok(time)) => time.to_string().into(),
        Some(Err(_)) | None => number.into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
