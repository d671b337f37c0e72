//! Avro in the Confluent wire format: byte 0, schema id (4 bytes, big-endian), datum.
//! <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>

mod embedded;
mod json;
mod layout;
mod limits;
mod reader;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use serde_json::Value;

use self::{embedded::Embedded, reader::Writer};
use crate::{Record, topics};

/// Maximum number of bytes of a message. Larger ones are neither decoded nor accepted by the outbox.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

const HEADER: usize = 5;

/// Encodes and decodes records. Cheap to clone; the clones share the learned schemas.
#[derive(Clone)]
pub struct Codec(Arc<Inner>);

struct Inner {
    /// Schema id and schema of the records that can be written, by full name.
    outgoing: HashMap<&'static str, (i32, &'static Embedded)>,
    /// Schemas of the records that can be read, by schema id.
    incoming: RwLock<HashMap<i32, Arc<Writer>>>,
}

/// Error of encoding or decoding. Contains no content of the message, because that may be personal and errors are
/// logged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fetch the schema, [`learn`](Codec::learn) it, and decode again. Every other error of decoding is final.
    #[error("schema {0} is unknown")]
    UnknownSchema(i32),
    #[error("the value does not begin with a schema id: {0}")]
    NotFramed(&'static str),
    #[error("schema {id} is {found}, not {expected}")]
    WrongRecord {
        id: i32,
        found: String,
        expected: &'static str,
    },
    #[error("the bytes are not a {record}: {reason}")]
    Datum { record: String, reason: &'static str },
    #[error("the value has {0} bytes; at most {MAX_MESSAGE_BYTES} are decoded")]
    TooLarge(usize),
    #[error("{bytes} bytes follow the {record}")]
    TrailingBytes { record: String, bytes: usize },
    #[error("this {record} does not fit its schema: {reason}")]
    Unencodable { record: &'static str, reason: &'static str },
    #[error("schema {id} is not usable")]
    BadSchema {
        id: i32,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("schema id {id} already belongs to another schema, {known}")]
    IdTaken { id: i32, known: String },
    #[error("no schema id is known for {}", .0.join(", "))]
    MissingIds(Vec<&'static str>),
    #[error("{0} is not a record of any topic")]
    UnknownRecord(String),
}

impl Codec {
    /// Creates a codec with the ids 1, 2, 3… in the order of the topic table, for tests without a registry.
    pub fn local() -> Self {
        let names = topics::ALL
            .iter()
            .flat_map(|topic| topic.records)
            .map(|record| record.name);
        Self::with_ids(names.zip(1..)).expect("the topic table lists every record")
    }

    /// Creates a codec with the ids of the registry, one for every record of the topic table.
    ///
    /// # Errors
    /// Returns [`Error::UnknownRecord`], [`Error::IdTaken`] or [`Error::MissingIds`] if the ids do not match the topic
    /// table.
    pub fn with_ids(ids: impl IntoIterator<Item = (&'static str, i32)>) -> Result<Self, Error> {
        // Sets the limit of the process. The decoder's default is 512 MiB.
        apache_avro::util::max_allocation_bytes(limits::MAX_ALLOCATION_BYTES);
        let mut outgoing = HashMap::new();
        let mut incoming: HashMap<i32, Arc<Writer>> = HashMap::new();
        for (name, id) in ids {
            let embedded = embedded::get(name).ok_or_else(|| Error::UnknownRecord(name.to_owned()))?;
            let writer = Writer::new(id, embedded.schema.clone())?;
            if let Some(known) = incoming.insert(id, Arc::new(writer)) {
                return Err(Error::IdTaken {
                    id,
                    known: known.name().to_owned(),
                });
            }
            outgoing.insert(name, (id, embedded));
        }
        let missing: Vec<_> = embedded::names().filter(|name| !outgoing.contains_key(name)).collect();
        if !missing.is_empty() {
            return Err(Error::MissingIds(missing));
        }
        Ok(Self(Arc::new(Inner {
            outgoing,
            incoming: RwLock::new(incoming),
        })))
    }

    /// Adds the schema of a writer that was found on the wire. Adding the same schema again has no effect.
    ///
    /// # Errors
    /// Returns [`Error::BadSchema`] for a string that is not the schema of a record or exceeds a limit, and
    /// [`Error::IdTaken`] if another schema has this id.
    pub fn learn(&self, id: i32, schema_json: &str) -> Result<(), Error> {
        let learned = reader::catch_panic(|| self.learn_within_limits(id, schema_json));
        learned.unwrap_or_else(|panic| {
            Err(Error::BadSchema {
                id,
                source: panic.into(),
            })
        })
    }

    fn learn_within_limits(&self, id: i32, schema_json: &str) -> Result<(), Error> {
        let schema = limits::parse(schema_json).map_err(|source| Error::BadSchema { id, source })?;
        let writer = Arc::new(Writer::new(id, schema)?);
        let mut incoming = self.0.incoming.write().unwrap_or_else(PoisonError::into_inner);
        match incoming.get(&id) {
            Some(known) if known.is_same(&writer) => Ok(()),
            Some(known) => Err(Error::IdTaken {
                id,
                known: known.name().to_owned(),
            }),
            None => {
                incoming.insert(id, writer);
                Ok(())
            }
        }
    }

    /// Encodes and frames a record of the topic table.
    ///
    /// # Errors
    /// Returns [`Error::UnknownRecord`] for a record that is on no topic, and [`Error::Unencodable`] for one that does not
    /// fit its schema.
    pub fn encode<R: Record>(&self, record: &R) -> Result<Vec<u8>, Error> {
        let (id, embedded) = self
            .0
            .outgoing
            .get(R::NAME)
            .ok_or_else(|| Error::UnknownRecord(R::NAME.to_owned()))?;
        let mut framed = Vec::with_capacity(128);
        framed.push(0);
        framed.extend(id.to_be_bytes());
        embedded
            .writer
            .write_ser(&mut framed, record)
            .map_err(|error| Error::Unencodable {
                record: R::NAME,
                reason: reader::reason(&error),
            })?;
        Ok(framed)
    }

    /// Decodes a record that was written with this or another version of `R`.
    ///
    /// # Errors
    /// Returns [`Error::UnknownSchema`] if the schema must be learned first. All other errors are final.
    pub fn decode<R: Record>(&self, framed: &[u8]) -> Result<R, Error> {
        let (writer, datum) = self.open(framed)?;
        writer.decode(datum)
    }

    /// Returns the full name of a record of any type, and its content as JSON.
    pub fn to_json(&self, framed: &[u8]) -> Result<(String, Value), Error> {
        let (writer, datum) = self.open(framed)?;
        let value = writer.decode_value(datum)?;
        Ok((writer.name().to_owned(), json::render(value)))
    }

    /// Like [`to_json`](Self::to_json), but without the fields that are marked personal in the writer's schema or in the
    /// current schema with that name.
    pub fn to_json_without_personal(&self, framed: &[u8]) -> Result<(String, Value), Error> {
        let (writer, datum) = self.open(framed)?;
        let current = embedded::get(writer.name()).map(|embedded| embedded.schema);
        let value = writer.decode_value(datum)?;
        Ok((
            writer.name().to_owned(),
            json::render_without_personal(value, writer.schema(), current),
        ))
    }

    /// Returns the full name of the framed record.
    pub fn record_name(&self, framed: &[u8]) -> Result<String, Error> {
        self.open(framed).map(|(writer, _)| writer.name().to_owned())
    }

    /// Returns the id of every record that can be written, ordered by name.
    pub fn schema_ids(&self) -> Vec<(&'static str, i32)> {
        let mut ids: Vec<_> = self.0.outgoing.iter().map(|(name, (id, _))| (*name, *id)).collect();
        ids.sort_unstable();
        ids
    }

    fn open<'a>(&self, framed: &'a [u8]) -> Result<(Arc<Writer>, &'a [u8]), Error> {
        let id = schema_id(framed)?;
        if framed.len() > MAX_MESSAGE_BYTES {
            return Err(Error::TooLarge(framed.len()));
        }
        let incoming = self.0.incoming.read().unwrap_or_else(PoisonError::into_inner);
        let writer = incoming.get(&id).ok_or(Error::UnknownSchema(id))?;
        Ok((Arc::clone(writer), &framed[HEADER..]))
    }
}

/// Returns the schema id at the beginning of a framed value.
///
/// # Errors
/// Returns [`Error::NotFramed`] if the value is too short or does not begin with byte 0.
pub fn schema_id(framed: &[u8]) -> Result<i32, Error> {
    match framed {
        [0, a, b, c, d, ..] => Ok(i32::from_be_bytes([*a, *b, *c, *d])),
        [0, ..] | [] => Err(Error::NotFramed("too short")),
        _ => Err(Error::NotFramed("the first byte is not 0")),
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("schema_ids", &self.schema_ids())
            .finish_non_exhaustive()
    }
}
