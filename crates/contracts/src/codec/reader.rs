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

/// UUIDs as text: Avro's `uuid` on a string, which clients in other languages read without a library.
pub(super) const HUMAN_READABLE: bool = true;

/// Maximum nesting depth that the decoder reads on its caller's stack. Rollcall's own messages are not deeper.
const MAX_DEPTH_ON_ANY_STACK: usize = 4;
/// Number of bytes of stack for deeper values. It is reserved, not allocated.
const STACK: usize = MAX_DEPTH * 256 * 1024;

/// Everything that is needed to read values of one schema id. Built once.
pub(super) struct Writer {
    id: i32,
    name: String,
    schema: Schema,
    generic: GenericSingleObjectReader,
    layout: Layout,
    plan: OnceLock<Plan>,
}

/// Way to decode a writer's datum to the Rust type with the same name.
enum Plan {
    /// Same layout: directly from the bytes.
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
                source: "it is not a record".into(),
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
        // The name is R's, so this plan is for R, whichever call created it.
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
                self.catch_panic(|| from_value(&value.resolve_with_names(schema, names)?))
            }
        }
    }

    pub(super) fn decode_value(&self, datum: &[u8]) -> Result<Value, Error> {
        self.read(datum, |datum| self.generic.read_value(datum))
    }

    /// Measures and then reads a datum, which must be the whole of `bytes`.
    fn read<T: Send>(
        &self,
        bytes: &[u8],
        read: impl FnOnce(&mut Datum<'_>) -> Result<T, apache_avro::Error> + Send,
    ) -> Result<T, Error> {
        let measured = self.layout.measure(bytes).map_err(|reason| self.datum(reason))?;
        let mut datum = Datum::new(&bytes[..measured.bytes]);
        let work = || self.catch_panic(|| read(&mut datum));
        let value = if measured.depth > MAX_DEPTH_ON_ANY_STACK {
            on_a_large_stack(work).unwrap_or_else(|| Err(self.datum("no thread is available to decode them")))?
        } else {
            work()?
        };
        self.finish(&datum, bytes.len() - measured.bytes)?;
        Ok(value)
    }

    fn catch_panic<T>(&self, work: impl FnOnce() -> Result<T, apache_avro::Error>) -> Result<T, Error> {
        match catch_panic(work) {
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
        let plan = catch_panic(plan).map_err(Into::into);
        plan.and_then(|plan| plan.map_err(Into::into))
            .map_err(|source| Error::BadSchema { id: self.id, source })
    }

    fn finish(&self, datum: &Datum<'_>, trailing: usize) -> Result<(), Error> {
        if datum.short {
            return Err(self.datum(TOO_SHORT));
        }
        match datum.rest.len() + trailing {
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

/// Returns a reader that owns its schema. Its single-object header is empty, because the wire format has the registry's
/// header instead.
fn reader(schema: &Schema) -> Result<GenericSingleObjectReader, apache_avro::Error> {
    GenericSingleObjectReader::builder()
        .schema(schema.clone())
        .header(Vec::new())
        .human_readable(HUMAN_READABLE)
        .build()
}

/// Runs `work` on a separate thread with a large stack. Returns `None` if the operating system cannot start a thread.
///
/// The decoder recurses, and takes 140 KiB of stack per level if it is compiled without optimization.
fn on_a_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        thread.ok()?.join().ok()
    })
}

/// Runs the decoder on third-party data and turns a panic into an error. No other state is affected, because a value in
/// progress is owned by `work`.
pub(super) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, &'static str> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|_| "the decoder panicked")
}

/// Returns the reason of an error, without the values that the error's own text contains.
pub(super) fn reason(error: &apache_avro::Error) -> &'static str {
    match error.details() {
        Details::ReadVariableIntegerBytes(_) | Details::ReadBytes(_) | Details::ReadString(_) => TOO_SHORT,
        Details::ConvertToUtf8(_) => "a string is not UTF-8",
        Details::EnumSymbolIndex { .. } => "an enum has no symbol with this index",
        Details::GetUnionVariant { .. } => NO_SUCH_BRANCH,
        Details::MemoryAllocation { .. } => TOO_LONG,
        Details::GetField(_) => "a field without a default is missing",
        Details::SerializeRecordFieldWithSchema { .. } | Details::SerializeValueWithSchema { .. } => {
            "a field is of another type"
        }
        _ => "a value does not fit",
    }
}

/// The bytes of a datum. apache-avro reads a missing value at the end as null; `short` distinguishes that from a written
/// null.
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
