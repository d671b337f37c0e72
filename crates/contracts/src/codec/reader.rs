use std::{collections::HashMap, io, sync::OnceLock};

use apache_avro::{
    GenericSingleObjectReader, Schema,
    error::Details,
    from_value,
    schema::{Name, ResolvedSchema},
    types::Value,
};

use super::Error;
use crate::Record;

/// Uuids as text: Avro's `uuid` on a string, which clients in other languages read without a library.
pub(super) const HUMAN_READABLE: bool = true;

/// Everything that is needed to read what was written under one schema id. Built once.
pub(super) struct Writer {
    id: i32,
    name: String,
    schema: Schema,
    generic: GenericSingleObjectReader,
    plan: OnceLock<Plan>,
}

/// How a writer's datum becomes the Rust type of its name.
enum Plan {
    /// Same layout: straight from the bytes.
    Direct(GenericSingleObjectReader),
    /// Another version: through schema resolution.
    Resolve {
        schema: Schema,
        names: HashMap<Name, Schema>,
    },
}

impl Writer {
    pub(super) fn new(id: i32, schema: Schema) -> Result<Self, Error> {
        let Schema::Record(record) = &schema else {
            return Err(Error::BadSchema {
                id,
                source: "it is no record".into(),
            });
        };
        let name = record.name.to_string();
        let generic = reader(&schema).map_err(|error| Error::BadSchema {
            id,
            source: error.into(),
        })?;
        Ok(Self {
            id,
            name,
            schema,
            generic,
            plan: OnceLock::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.schema.canonical_form() == other.schema.canonical_form()
    }

    pub(super) fn decode<R: Record>(&self, datum: &[u8]) -> Result<R, Error> {
        if self.name != R::NAME {
            return Err(Error::WrongRecord {
                id: self.id,
                found: self.name.clone(),
                expected: R::NAME,
            });
        }
        // The name is R's, so this plan is for R, whichever call made it.
        let plan = match self.plan.get() {
            Some(plan) => plan,
            None => {
                let plan = self.plan::<R>()?;
                self.plan.get_or_init(|| plan)
            }
        };
        match plan {
            Plan::Direct(reader) => {
                let mut datum = Datum::new(datum);
                let record = reader.read_deser(&mut datum).map_err(|error| self.error(&error))?;
                self.finish(&datum)?;
                Ok(record)
            }
            Plan::Resolve { schema, names } => {
                let value = self
                    .decode_value(datum)?
                    .resolve_with_names(schema, names)
                    .map_err(|error| self.error(&error))?;
                from_value(&value).map_err(|error| self.error(&error))
            }
        }
    }

    pub(super) fn decode_value(&self, datum: &[u8]) -> Result<Value, Error> {
        let mut datum = Datum::new(datum);
        let value = self
            .generic
            .read_value(&mut datum)
            .map_err(|error| self.error(&error))?;
        self.finish(&datum)?;
        Ok(value)
    }

    fn plan<R: Record>(&self) -> Result<Plan, Error> {
        let bad = |error: apache_avro::Error| Error::BadSchema {
            id: self.id,
            source: error.into(),
        };
        let schema = Schema::parse_str(R::SCHEMA).map_err(bad)?;
        if schema.canonical_form() == self.schema.canonical_form() {
            reader(&schema).map(Plan::Direct).map_err(bad)
        } else {
            let resolved = ResolvedSchema::new(&schema).map_err(bad)?;
            let names = resolved
                .get_names()
                .iter()
                .map(|(name, schema)| (name.clone(), (*schema).clone()))
                .collect();
            Ok(Plan::Resolve { schema, names })
        }
    }

    fn finish(&self, datum: &Datum<'_>) -> Result<(), Error> {
        if datum.short {
            return Err(Error::Datum {
                record: self.name.clone(),
                reason: TOO_SHORT,
            });
        }
        match datum.rest.len() {
            0 => Ok(()),
            bytes => Err(Error::TrailingBytes {
                record: self.name.clone(),
                bytes,
            }),
        }
    }

    fn error(&self, error: &apache_avro::Error) -> Error {
        Error::Datum {
            record: self.name.clone(),
            reason: reason(error),
        }
    }
}

/// A reader that owns its schema. Its single-object header is empty: ours is the registry's.
fn reader(schema: &Schema) -> Result<GenericSingleObjectReader, apache_avro::Error> {
    GenericSingleObjectReader::builder()
        .schema(schema.clone())
        .header(Vec::new())
        .human_readable(HUMAN_READABLE)
        .build()
}

const TOO_SHORT: &str = "they end too early";

/// What went wrong, without the values that the error's own text quotes.
pub(super) fn reason(error: &apache_avro::Error) -> &'static str {
    match error.details() {
        Details::ReadVariableIntegerBytes(_) | Details::ReadBytes(_) | Details::ReadString(_) => TOO_SHORT,
        Details::ConvertToUtf8(_) => "a text is no UTF-8",
        Details::EnumSymbolIndex { .. } => "an enum has no such symbol",
        Details::GetUnionVariant { .. } => "a union has no such branch",
        Details::MemoryAllocation { .. } => "a length is larger than any message",
        Details::GetField(_) => "a field is missing that has no default",
        Details::SerializeRecordFieldWithSchema { .. } | Details::SerializeValueWithSchema { .. } => {
            "a field is of another type"
        }
        _ => "a value does not fit",
    }
}

/// The bytes of a datum. apache-avro reads a missing value at the end as null; `short` tells that from a null that
/// was written.
struct Datum<'a> {
    rest: &'a [u8],
    short: bool,
}

impl<'a> Datum<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest, short: false }
    }
}

impl io::Read for Datum<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.rest.read(buffer)?;
        self.short |= read < buffer.len();
        Ok(read)
    }
}
