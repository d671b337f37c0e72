//! The schemas of the topic table, parsed once per process.

use std::{collections::HashMap, sync::LazyLock};

use apache_avro::{Schema, writer::datum::GenericDatumWriter};

use crate::{codec::MAX_MESSAGE_BYTES, topics};

pub(super) struct Embedded {
    pub(super) schema: &'static Schema,
    pub(super) writer: GenericDatumWriter<'static>,
}

// A constant that needs parsing. Each schema is leaked once, because a prepared writer borrows its schema.
static EMBEDDED: LazyLock<HashMap<&'static str, Embedded>> = LazyLock::new(|| {
    // The crate keeps this limit in a static, which the first call sets.
    apache_avro::util::max_allocation_bytes(MAX_MESSAGE_BYTES);
    topics::ALL
        .iter()
        .flat_map(|topic| topic.records)
        .map(|record| {
            let schema: &'static Schema = Box::leak(Box::new(
                Schema::parse_str(record.schema).expect("a test verifies that every schema file is valid"),
            ));
            let writer = GenericDatumWriter::builder(schema)
                .human_readable(super::reader::HUMAN_READABLE)
                .build()
                .expect("a test verifies that every schema file is self-contained");
            (record.name, Embedded { schema, writer })
        })
        .collect()
});

pub(super) fn get(name: &str) -> Option<&'static Embedded> {
    EMBEDDED.get(name)
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    topics::ALL
        .iter()
        .flat_map(|topic| topic.records)
        .map(|record| record.name)
}
