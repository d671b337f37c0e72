//! Limits for schemas that third parties registered, and for data that they wrote.
//!
//! A few bytes can represent unlimited depth (a record that contains itself) or millions of values (an array of nulls).
//! No number in a schema or a datum is trusted before it is checked here. Each limit is far above what Rollcall's own
//! messages reach, of which the largest has [`MAX_MESSAGE_BYTES`].

use apache_avro::Schema;
use serde_json::{Map, Value as Json};

use super::MAX_MESSAGE_BYTES;

/// Maximum number of bytes of a schema's text. Rollcall's largest schema has 2.5 KiB.
pub(super) const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// Maximum number of named types in a schema, because the parser keeps a copy of each. Rollcall's schemas have at most
/// three.
pub(super) const MAX_NAMED_TYPES: usize = 500;
/// Maximum nesting depth of records, arrays and maps: half of the 128 levels that JSON parsers such as `serde_json` read.
/// Rollcall's messages have at most six levels.
pub(super) const MAX_DEPTH: usize = 64;
/// Maximum number of values in a datum: one for every eight bytes of the largest message. A largest message that is an
/// array of UUIDs has 28,000 values.
pub(super) const MAX_VALUES: usize = MAX_MESSAGE_BYTES / 8;
/// Maximum number of bytes of a datum's rendering, before characters are escaped. Hexadecimal text has twice the bytes of
/// its value, and the names of fields are repeated in every record.
pub(super) const MAX_RENDERED_BYTES: usize = 4 * MAX_MESSAGE_BYTES;
/// Maximum number of bytes of the rendering per byte of the datum, beyond [`MAX_SMALL_RENDERING`]. A batch of small records
/// must not expand to gigabytes, because the audit log keeps a whole batch in memory and in one transaction. A number has
/// at least one byte and counts as 36.
pub(super) const MAX_RENDERED_PER_BYTE: usize = 40;
/// Number of bytes of rendering that are allowed for any datum, however small, because the names of fields take no bytes
/// of the datum.
pub(super) const MAX_SMALL_RENDERING: usize = 64 * 1024;
/// Maximum number of bytes of a `big-decimal`, because the time to write a number in decimal grows with the square of its length.
pub(super) const MAX_BIG_DECIMAL_BYTES: usize = 4096;

/// Maximum number of bytes that the decoder may allocate in one piece: a collection of [`MAX_VALUES`] values.
pub(super) const MAX_ALLOCATION_BYTES: usize = 16 * MAX_MESSAGE_BYTES;

/// Maximum `size`, `precision` or `scale`. The parser panics on any number that is not an `i64`.
const MAX_NUMBER: u64 = MAX_MESSAGE_BYTES as u64;

/// Attributes of a schema that decoding needs. The others serve readers (`default`, `aliases`) or documentation (`doc`),
/// and the parser would keep copies of them.
const NEEDED: [&str; 9] = [
    "type",
    "name",
    "namespace",
    "fields",
    "items",
    "values",
    "symbols",
    "logicalType",
    "personal",
];

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Parses a third party's schema, to read data that was written with it.
///
/// # Errors
/// Returns an error for a string that is not a schema, and for one that exceeds a limit.
pub(super) fn parse(text: &str) -> Result<Schema, BoxError> {
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(format!("it has {} bytes; the maximum is {MAX_SCHEMA_BYTES}", text.len()).into());
    }
    // Rejects more than 128 levels, which bounds every recursion over a schema.
    let schema: Json = serde_json::from_str(text)?;
    let mut named_types = 0;
    let needed = needed(schema, &mut named_types);
    if named_types > MAX_NAMED_TYPES {
        return Err(format!("it has {named_types} named types; the maximum is {MAX_NAMED_TYPES}").into());
    }
    Ok(Schema::parse(&needed)?)
}

fn needed(schema: Json, named_types: &mut usize) -> Json {
    match schema {
        Json::Array(schemas) => schemas.into_iter().map(|schema| needed(schema, named_types)).collect(),
        Json::Object(attributes) => {
            let is_named = ["fields", "symbols", "size"];
            *named_types += usize::from(is_named.iter().any(|attribute| attributes.contains_key(*attribute)));
            let attributes = attributes.into_iter().filter(|(name, value)| match name.as_str() {
                "size" | "precision" | "scale" => value.as_u64().is_some_and(|number| number <= MAX_NUMBER),
                name => NEEDED.contains(&name),
            });
            let attributes: Map<_, _> = attributes
                .map(|(name, value)| (name, needed(value, named_types)))
                .collect();
            attributes.into()
        }
        simple => simple,
    }
}
