use std::{collections::HashMap, io, sync::OnceLock, thread};

use apache_avro::{
    GenericSingleObjectReader, Schema,
    error::Details,
    from_value,
    schema::{Name, ResolvedSchema},
    types::Value,
};

use super::{
    Error,
    layout::{Layout, NO_SUCH_BRANCH, TOO_LONG, TOO_SHORT},
    limits::MAX_DEPTH,
};
use crate::Record;

/// Uuids as text: Avro's `uuid` on a string, which clients in other languages read without a library.
pub(super) const HUMAN_READABLE: bool = true;

/// Records, arrays and maps inside each other that the decoder reads on its caller's stack. Ours are not deeper.
const MAX_DEPTH_ON_ANY_STACK: usize = 4;
/// Bytes of stack for what is deeper, which is reserved and not allocated.
const STACK: usize = MAX_DEPTH * 256 * 1024;

/// Everything that is needed to read what was written under one schema id. Built once.
pub(super) struct Writer {
    id: i32,
    name: String,
    schema: Schema,
    generic: GenericSingleObjectReader,
    layout: Layout,
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
        let layout = Layout::of(&schema).map_err(|error| Error::BadSchema {
            id,
            source: error.into(),
        })?;
        Ok(Self {
            id,
            name,
            schema,
            generic,
            layout,
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
            Plan::Direct(reader) => self.read(datum, |datum| reader.read_deser(datum)),
            Plan::Resolve { schema, names } => {
                let value = self.decode_value(datum)?;
                self.unwinding(|| from_value(&value.resolve_with_names(schema, names)?))
            }
        }
    }

    pub(super) fn decode_value(&self, datum: &[u8]) -> Result<Value, Error> {
        self.read(datum, |datum| self.generic.read_value(datum))
    }

    /// Reads a datum that was measured before, and nothing behind it.
    fn read<T: Send>(
        &self,
        bytes: &[u8],
        read: impl FnOnce(&mut Datum<'_>) -> Result<T, apache_avro::Error> + Send,
    ) -> Result<T, Error> {
        let measured = self.layout.measure(bytes).map_err(|reason| self.datum(reason))?;
        let mut datum = Datum::new(&bytes[..measured.bytes]);
        let work = || self.unwinding(|| read(&mut datum));
        let value = match measured.depth > MAX_DEPTH_ON_ANY_STACK {
            true => on_a_large_stack(work).unwrap_or_else(|| Err(self.datum("there is no memory to decode them")))?,
            false => work()?,
        };
        self.finish(&datum, bytes.len() - measured.bytes)?;
        Ok(value)
    }

    fn unwinding<T>(&self, work: impl FnOnce() -> Result<T, apache_avro::Error>) -> Result<T, Error> {
        match unwinding(work) {
            Ok(done) => done.map_err(|error| self.datum(reason(&error))),
            Err(panic) => Err(self.datum(panic)),
        }
    }

    fn plan<R: Record>(&self) -> Result<Plan, Error> {
        let plan = || {
            let schema = Schema::parse_str(R::SCHEMA)?;
            if schema.canonical_form() == self.schema.canonical_form() {
                return reader(&schema).map(Plan::Direct);
            }
            let resolved = ResolvedSchema::new(&schema)?;
            let names = resolved
                .get_names()
                .iter()
                .map(|(name, schema)| (name.clone(), (*schema).clone()))
                .collect();
            Ok(Plan::Resolve { schema, names })
        };
        let plan = unwinding(plan).map_err(Into::into);
        plan.and_then(|plan| plan.map_err(Into::into))
            .map_err(|source| Error::BadSchema { id: self.id, source })
    }

    fn finish(&self, datum: &Datum<'_>, behind: usize) -> Result<(), Error> {
        if datum.short {
            return Err(self.datum(TOO_SHORT));
        }
        match datum.rest.len() + behind {
            0 => Ok(()),
            bytes => Err(Error::TrailingBytes {
                record: self.name.clone(),
                bytes,
            }),
        }
    }

    fn datum(&self, reason: &'static str) -> Error {
        Error::Datum {
            record: self.name.clone(),
            reason,
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

/// Does work on a thread of its own. Returns `None` if the operating system gives none.
///
/// The decoder recurses, and unoptimised it takes 140 KiB of stack for a level.
fn on_a_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        thread.ok()?.join().ok()
    })
}

/// Does work of the decoder on what a third party wrote. A panic is an error like any other: whatever was half done
/// lives in `work` alone.
pub(super) fn unwinding<T>(work: impl FnOnce() -> T) -> Result<T, &'static str> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|_| "the decoder panicked")
}

/// What went wrong, without the values that the error's own text quotes.
pub(super) fn reason(error: &apache_avro::Error) -> &'static str {
    match error.details() {
        Details::ReadVariableIntegerBytes(_) | Details::ReadBytes(_) | Details::ReadString(_) => TOO_SHORT,
        Details::ConvertToUtf8(_) => "a text is no UTF-8",
        Details::EnumSymbolIndex { .. } => "an enum has no such symbol",
        Details::GetUnionVariant { .. } => NO_SUCH_BRANCH,
        Details::MemoryAllocation { .. } => TOO_LONG,
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
