//! Walks over a datum as its schema lays it out, without building anything, to find out what decoding it would build.

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
pub(super) const NO_SUCH_BRANCH: &str = "a union has no such branch";
pub(super) const TOO_LONG: &str = "a length is larger than any message";
const TOO_DEEP: &str = "values are nested too deeply";
const TOO_MANY: &str = "there are too many values";
const TOO_LARGE: &str = "as text, it would be too large";

/// Bytes that a number, a time or a date has as text, at most.
const NUMBER: usize = 32;

/// A schema whose references are resolved: types refer to each other by their place in the list.
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

/// What a datum has.
pub(super) struct Measured {
    pub(super) bytes: usize,
    /// Records, arrays and maps inside each other.
    pub(super) depth: usize,
}

/// A name that the schema does not define. Such a schema has no reader either.
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
        .place(schema, None)?;
        Ok(Self { types, root })
    }

    /// Measures a datum, which the first of `bytes` are.
    ///
    /// # Errors
    /// Returns what is wrong with a datum that ends too early, or that is beyond a limit.
    pub(super) fn measure(&self, bytes: &[u8]) -> Result<Measured, &'static str> {
        let mut walk = Walk {
            types: &self.types,
            rest: bytes,
            values: MAX_VALUES,
            rendered: MAX_RENDERED_BYTES.min(MAX_SMALL_RENDERING + bytes.len() * MAX_RENDERED_PER_BYTE),
            left_at_the_bottom: MAX_DEPTH,
        };
        walk.value(self.root, MAX_DEPTH)?;
        Ok(Measured {
            bytes: bytes.len() - walk.rest.len(),
            depth: MAX_DEPTH - walk.left_at_the_bottom,
        })
    }
}

struct Compiler<'a> {
    types: &'a mut Vec<Type>,
    named: HashMap<Name, usize>,
}

impl Compiler<'_> {
    /// Recurses as deep as the schema's text is nested, which its parser limits.
    fn place(&mut self, schema: &Schema, namespace: Option<&str>) -> Result<usize, Undefined> {
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
            Schema::Array(array) => Type::Array(self.place(&array.items, namespace)?),
            Schema::Map(map) => Type::Map(self.place(&map.types, namespace)?),
            Schema::Union(union) => {
                let branches = union.variants().iter().map(|branch| self.place(branch, namespace));
                Type::Union(branches.collect::<Result<_, _>>()?)
            }
            Schema::Record(record) => {
                let name = record.name.fully_qualified_name(namespace).into_owned();
                let namespace = name.namespace().map(str::to_owned);
                // Its own fields may refer to it.
                let place = self.named(name, Type::Record(Vec::new()));
                let fields = record.fields.iter();
                let fields =
                    fields.map(|field| Ok((field.name.len(), self.place(&field.schema, namespace.as_deref())?)));
                self.types[place] = Type::Record(fields.collect::<Result<_, _>>()?);
                return Ok(place);
            }
            Schema::Ref { name } => {
                let name = name.fully_qualified_name(namespace);
                let place = self.named.get(name.as_ref()).copied();
                return place.ok_or_else(|| Undefined(name.to_string()));
            }
        };
        Ok(self.push(simple))
    }

    fn fixed(&mut self, fixed: &FixedSchema, namespace: Option<&str>) -> usize {
        let name = fixed.name.fully_qualified_name(namespace).into_owned();
        self.named(name, Type::Fixed(fixed.size))
    }

    fn named(&mut self, name: Name, named: Type) -> usize {
        let place = self.push(named);
        self.named.insert(name, place);
        place
    }

    fn push(&mut self, pushed: Type) -> usize {
        self.types.push(pushed);
        self.types.len() - 1
    }
}

/// What is left: of the bytes, and of what the limits allow.
struct Walk<'a> {
    types: &'a [Type],
    rest: &'a [u8],
    values: usize,
    rendered: usize,
    /// The depth that was left where the datum is deepest.
    left_at_the_bottom: usize,
}

impl Walk<'_> {
    /// `depth` is how many more records, arrays and maps may follow inside each other, which bounds this recursion:
    /// between two of them there is at most one union.
    fn value(&mut self, place: usize, depth: usize) -> Result<(), &'static str> {
        self.values = self.values.checked_sub(1).ok_or(TOO_MANY)?;
        let types = self.types;
        match &types[place] {
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

    /// The items of an array or map come in blocks, each after its count; a count of 0 ends them.
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
                // The block's size in bytes, for readers that skip it.
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
        self.left_at_the_bottom = self.left_at_the_bottom.min(depth);
        Ok(depth)
    }

    fn text(&mut self) -> Result<(), &'static str> {
        let length = self.length()?;
        self.skip(length)?;
        self.render(length)
    }

    /// Bytes, which are rendered as hexadecimal text.
    fn fixed(&mut self, size: usize) -> Result<(), &'static str> {
        self.skip(size)?;
        self.render(size.saturating_mul(2))
    }

    /// Bytes that are digits after their own length, and a scale.
    fn big_decimal(&mut self) -> Result<(), &'static str> {
        let length = self.length()?;
        let (inner, rest) = self.rest.split_at_checked(length).ok_or(TOO_SHORT)?;
        self.rest = inner;
        let digits = self.length()?;
        self.skip(digits)?;
        self.integer()?;
        self.rest = rest;
        match length <= MAX_BIG_DECIMAL_BYTES {
            true => self.render(length.saturating_mul(2).saturating_add(NUMBER)),
            false => Err(TOO_LARGE),
        }
    }

    fn length(&mut self) -> Result<usize, &'static str> {
        let length = usize::try_from(self.integer()?).map_err(|_| TOO_LONG)?;
        match length <= MAX_MESSAGE_BYTES {
            true => Ok(length),
            false => Err(TOO_LONG),
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

    /// Counts text, its quotation marks and what separates it from the next.
    fn render(&mut self, bytes: usize) -> Result<(), &'static str> {
        let bytes = bytes.saturating_add(4);
        self.rendered = self.rendered.checked_sub(bytes).ok_or(TOO_LARGE)?;
        Ok(())
    }
}
