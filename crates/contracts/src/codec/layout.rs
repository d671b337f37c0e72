//! Walks over a datum according to its schema, without building values, to measure what decoding it would build.

use std::collections::HashMap;

use apache_avro::{
    Schema,
    schema::{DecimalSchema, FixedSchema, InnerDecimalSchema, Name, UuidSchema},
};

use super::{
    MAX_MESSAGE_BYTES,
    limits::{
        MAX_BIG_DECIMAL_BYTES, MAX_DEPTH, MAX_RENDERED_BYTES, MAX_RENDERED_PER_BYTE, MAX_SMALL_RENDERING, MAX_VALUES,
    },
};

pub(super) const TOO_SHORT: &str = "they end too early";
pub(super) const NO_SUCH_BRANCH: &str = "a union has no branch with this index";
pub(super) const TOO_LONG: &str = "a length is larger than any message";
const TOO_DEEP: &str = "values are nested too deeply";
const TOO_MANY: &str = "there are too many values";
const TOO_LARGE: &str = "as text, it would be too large";

/// Maximum number of bytes of a number, time or date as text.
const NUMBER: usize = 32;

/// A schema whose references are resolved: types refer to each other by their index in the list.
pub(super) struct Layout {
    types: Vec<Type>,
    root: usize,
}

enum Type {
    Null,
    Boolean,
    /// Variable-length zig-zag.
    Integer,
    Float,
    Double,
    Text,
    Bytes,
    BigDecimal,
    Fixed(usize),
    /// The length of the longest symbol.
    Enum(usize),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    /// The fields, each with the length of its name.
    Record(Vec<(usize, usize)>),
}

/// Size of a datum.
pub(super) struct Measured {
    pub(super) bytes: usize,
    /// Nesting depth of records, arrays and maps.
    pub(super) depth: usize,
}

/// A name that the schema does not define. Such a schema cannot have a reader either.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not defined")]
pub(super) struct Undefined(String);

impl Layout {
    pub(super) fn of(schema: &Schema) -> Result<Self, Undefined> {
        let mut types = Vec::new();
        let root = Compiler {
            types: &mut types,
            named: HashMap::new(),
        }
        .add(schema, None)?;
        Ok(Self { types, root })
    }

    /// Measures the datum at the beginning of `bytes`.
    ///
    /// # Errors
    /// Returns the reason if the datum ends too early or exceeds a limit.
    pub(super) fn measure(&self, bytes: &[u8]) -> Result<Measured, &'static str> {
        let mut walk = Walk {
            types: &self.types,
            rest: bytes,
            values: MAX_VALUES,
            rendered: MAX_RENDERED_BYTES.min(MAX_SMALL_RENDERING + bytes.len() * MAX_RENDERED_PER_BYTE),
            smallest_remaining_depth: MAX_DEPTH,
        };
        walk.value(self.root, MAX_DEPTH)?;
        Ok(Measured {
            bytes: bytes.len() - walk.rest.len(),
            depth: MAX_DEPTH - walk.smallest_remaining_depth,
        })
    }
}

struct Compiler<'a> {
    types: &'a mut Vec<Type>,
    named: HashMap<Name, usize>,
}

impl Compiler<'_> {
    /// Adds the type of a schema and returns its index. Recurses as deep as the schema's text is nested, which its parser
    /// limits.
    fn add(&mut self, schema: &Schema, namespace: Option<&str>) -> Result<usize, Undefined> {
        let simple = match schema {
            Schema::Null => Type::Null,
            Schema::Boolean => Type::Boolean,
            Schema::Int
            | Schema::Long
            | Schema::Date
            | Schema::TimeMillis
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => Type::Integer,
            Schema::Float => Type::Float,
            Schema::Double => Type::Double,
            Schema::String | Schema::Uuid(UuidSchema::String) => Type::Text,
            Schema::Bytes
            | Schema::Uuid(UuidSchema::Bytes)
            | Schema::Decimal(DecimalSchema {
                inner: InnerDecimalSchema::Bytes,
                ..
            }) => Type::Bytes,
            Schema::BigDecimal => Type::BigDecimal,
            Schema::Fixed(fixed)
            | Schema::Duration(fixed)
            | Schema::Uuid(UuidSchema::Fixed(fixed))
            | Schema::Decimal(DecimalSchema {
                inner: InnerDecimalSchema::Fixed(fixed),
                ..
            }) => return Ok(self.fixed(fixed, namespace)),
            Schema::Enum(symbols) => {
                let longest = symbols.symbols.iter().map(String::len).max().unwrap_or(0);
                let name = symbols.name.fully_qualified_name(namespace).into_owned();
                return Ok(self.named(name, Type::Enum(longest)));
            }
            Schema::Array(array) => Type::Array(self.add(&array.items, namespace)?),
            Schema::Map(map) => Type::Map(self.add(&map.types, namespace)?),
            Schema::Union(union) => {
                let branches = union.variants().iter().map(|branch| self.add(branch, namespace));
                Type::Union(branches.collect::<Result<_, _>>()?)
            }
            Schema::Record(record) => {
                let name = record.name.fully_qualified_name(namespace).into_owned();
                let namespace = name.namespace().map(str::to_owned);
                // Added before its fields, which may refer to it.
                let index = self.named(name, Type::Record(Vec::new()));
                let fields = record.fields.iter();
                let fields = fields.map(|field| Ok((field.name.len(), self.add(&field.schema, namespace.as_deref())?)));
                self.types[index] = Type::Record(fields.collect::<Result<_, _>>()?);
                return Ok(index);
            }
            Schema::Ref { name } => {
                let name = name.fully_qualified_name(namespace);
                let index = self.named.get(name.as_ref()).copied();
                return index.ok_or_else(|| Undefined(name.to_string()));
            }
        };
        Ok(self.push(simple))
    }

    fn fixed(&mut self, fixed: &FixedSchema, namespace: Option<&str>) -> usize {
        let name = fixed.name.fully_qualified_name(namespace).into_owned();
        self.named(name, Type::Fixed(fixed.size))
    }

    fn named(&mut self, name: Name, named: Type) -> usize {
        let index = self.push(named);
        self.named.insert(name, index);
        index
    }

    fn push(&mut self, pushed: Type) -> usize {
        self.types.push(pushed);
        self.types.len() - 1
    }
}

/// State of a walk: the remaining bytes, and the remainder of each limit.
struct Walk<'a> {
    types: &'a [Type],
    rest: &'a [u8],
    values: usize,
    rendered: usize,
    /// The smallest remaining depth so far, at the deepest value of the datum.
    smallest_remaining_depth: usize,
}

impl Walk<'_> {
    /// Walks over a value. `depth` is the remaining nesting depth of records, arrays and maps, which bounds this
    /// recursion, because there is at most one union between two of them.
    fn value(&mut self, index: usize, depth: usize) -> Result<(), &'static str> {
        self.values = self.values.checked_sub(1).ok_or(TOO_MANY)?;
        let types = self.types;
        match &types[index] {
            Type::Null => self.render(4),
            Type::Boolean => {
                self.skip(1)?;
                self.render(5)
            }
            Type::Integer => {
                self.integer()?;
                self.render(NUMBER)
            }
            Type::Float => {
                self.skip(4)?;
                self.render(NUMBER)
            }
            Type::Double => {
                self.skip(8)?;
                self.render(NUMBER)
            }
            Type::Text => self.text(),
            Type::Bytes => {
                let length = self.length()?;
                self.fixed(length)
            }
            Type::BigDecimal => self.big_decimal(),
            Type::Fixed(size) => self.fixed(*size),
            Type::Enum(longest) => {
                self.integer()?;
                self.render(*longest)
            }
            Type::Array(items) => self.blocks(depth, |walk, depth| walk.value(*items, depth)),
            Type::Map(values) => self.blocks(depth, |walk, depth| {
                walk.text()?;
                walk.value(*values, depth)
            }),
            Type::Union(branches) => {
                let branch = usize::try_from(self.integer()?).ok();
                let branch = branch.and_then(|branch| branches.get(branch)).ok_or(NO_SUCH_BRANCH)?;
                self.value(*branch, depth)
            }
            Type::Record(fields) => {
                let depth = self.enter(depth)?;
                for (name, field) in fields {
                    self.render(*name)?;
                    self.value(*field, depth)?;
                }
                self.render(0)
            }
        }
    }

    /// Walks over the items of an array or map, which are grouped in blocks, each after its count. A count of 0 ends them.
    fn blocks(
        &mut self,
        depth: usize,
        item: impl Fn(&mut Self, usize) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        let depth = self.enter(depth)?;
        self.render(0)?;
        loop {
            let count = self.integer()?;
            if count < 0 {
                // The block's size in bytes, which lets readers skip the block.
                self.integer()?;
            }
            match count.unsigned_abs() {
                0 => return Ok(()),
                count if usize::try_from(count).is_ok_and(|count| count <= self.values) => {
                    (0..count).try_for_each(|_| item(self, depth))?;
                }
                _ => return Err(TOO_MANY),
            }
        }
    }

    fn enter(&mut self, depth: usize) -> Result<usize, &'static str> {
        let depth = depth.checked_sub(1).ok_or(TOO_DEEP)?;
        self.smallest_remaining_depth = self.smallest_remaining_depth.min(depth);
        Ok(depth)
    }

    fn text(&mut self) -> Result<(), &'static str> {
        let length = self.length()?;
        self.skip(length)?;
        self.render(length)
    }

    /// Walks over bytes, which are rendered as hexadecimal text.
    fn fixed(&mut self, size: usize) -> Result<(), &'static str> {
        self.skip(size)?;
        self.render(size.saturating_mul(2))
    }

    /// Walks over bytes that consist of a length, digits and a scale.
    fn big_decimal(&mut self) -> Result<(), &'static str> {
        let length = self.length()?;
        let (inner, rest) = self.rest.split_at_checked(length).ok_or(TOO_SHORT)?;
        self.rest = inner;
        let digits = self.length()?;
        self.skip(digits)?;
        self.integer()?;
        self.rest = rest;
        if length > MAX_BIG_DECIMAL_BYTES {
            return Err(TOO_LARGE);
        }
        self.render(length.saturating_mul(2).saturating_add(NUMBER))
    }

    fn length(&mut self) -> Result<usize, &'static str> {
        let length = usize::try_from(self.integer()?).map_err(|_| TOO_LONG)?;
        if length <= MAX_MESSAGE_BYTES {
            Ok(length)
        } else {
            Err(TOO_LONG)
        }
    }

    fn integer(&mut self) -> Result<i64, &'static str> {
        let mut bits = 0;
        for index in 0..10 {
            let (byte, rest) = self.rest.split_first().ok_or(TOO_SHORT)?;
            self.rest = rest;
            bits |= u64::from(byte & 0x7f) << (index * 7);
            if byte & 0x80 == 0 {
                return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        Err("a number is too long")
    }

    fn skip(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.rest = self.rest.get(bytes..).ok_or(TOO_SHORT)?;
        Ok(())
    }

    /// Counts the rendered text, with its quotation marks and separators.
    fn render(&mut self, bytes: usize) -> Result<(), &'static str> {
        let bytes = bytes.saturating_add(4);
        self.rendered = self.rendered.checked_sub(bytes).ok_or(TOO_LARGE)?;
        Ok(())
    }
}
