//! Stubs of records that the store refuses to keep.

use std::str::FromStr;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::consuming::arrival::storable_text;
use crate::consuming::known_failures::KnownFailures;
use crate::wire::envelope::header;
use crate::wire::record::{Headers, Record};

/// Returns the record to store for a record that is dead-lettered or parked, and the text to store with it.
///
/// This is the record itself, or a stub if the store refuses the record. Each stub increments `stubs`.
pub(crate) fn storable(record: &Record, detail: &str, known: &KnownFailures, stubs: &mut usize) -> (Record, String) {
    let Some(refused) = known.stub_reason(record.offset) else {
        return (record.clone(), storable_text(detail));
    };
    *stubs += 1;
    // The most important part comes first, because the text may be cut.
    (
        stub_of(record),
        storable_text(&format!("{}; {detail}", describe(record, refused))),
    )
}

/// Returns the record without its value, and with only ids and the sequence in its key and headers, in the format that
/// Rollcall writes. Every store can keep that.
fn stub_of(record: &Record) -> Record {
    let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
    let names = [header::ID, header::SUBJECT, header::CORRELATION_ID];
    let ids = names.map(|name| Some((name.to_owned(), parsed::<Uuid>(record, name)?.to_string())));
    let sequence = parsed::<i64>(record, header::SEQUENCE);
    let sequence = sequence.map(|sequence| (header::SEQUENCE.to_owned(), format!("{sequence:019}")));
    Record {
        key: key
            .and_then(|key| Uuid::try_parse(key).ok())
            .map(|key| Bytes::from(key.to_string())),
        value: None,
        headers: Headers(ids.into_iter().flatten().chain(sequence).collect()),
        ..record.clone()
    }
}

/// Maximum length of a reason in characters, because the rest of the description needs room too.
const MAX_REASON_CHARS: usize = 500;

/// Describes the record that a stub replaces: its size, the SHA-256 of its value, and the reason why the store
/// refused it.
pub(crate) fn describe(record: &Record, reason: &str) -> String {
    let reason: String = reason.chars().filter(|c| *c != '\0').take(MAX_REASON_CHARS).collect();
    let headers = &record.headers.0;
    let in_headers: usize = headers.iter().map(|(name, text)| name.len() + text.len()).sum();
    let value = match &record.value {
        Some(value) => format!(
            "a value of {} bytes with SHA-256 {:x}",
            value.len(),
            Sha256::digest(value)
        ),
        None => "no value".to_owned(),
    };
    format!(
        "only a stub is kept, because the store refused the record ({reason}): {value}, {} headers of {in_headers} bytes, \
         a key of {} bytes",
        headers.len(),
        record.key.as_ref().map_or(0, Bytes::len),
    )
}

fn parsed<T: FromStr>(record: &Record, name: &str) -> Option<T> {
    record.headers.get(name)?.parse().ok()
}
