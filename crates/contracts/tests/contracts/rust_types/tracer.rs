//! The shape of a Rust type, derived from its `Deserialize`.

use std::{cell::Cell, collections::HashSet};

use serde::{
    Deserialize,
    de::{self, Deserializer, IntoDeserializer, value::Error},
    forward_to_deserialize_any,
};

use super::Shape;

/// Returns the shape of `T`: deserializes it from made-up values and records the requested types.
///
/// `Timestamp` requests an i64 like any other long, but rejects the maximum. So the maximum is tried for every number,
/// and each number that rejects it is a time or a date.
pub(super) fn rust_shape<T: for<'de> Deserialize<'de>>() -> Shape {
    let trace = |extreme| {
        let numbers = Numbers {
            next: Cell::new(0),
            extreme,
            bounded: HashSet::new(),
        };
        let mut shape = Shape::Unknown;
        let result = T::deserialize(Tracer {
            shape: &mut shape,
            numbers: &numbers,
        });
        (result, numbers.next.get())
    };
    let (result, count) = trace(None);
    result.map(drop).expect("the made-up values fit");
    let bounded = (0..count).filter(|number| trace(Some(*number)).0.is_err()).collect();

    let numbers = Numbers {
        next: Cell::new(0),
        extreme: None,
        bounded,
    };
    let mut shape = Shape::Unknown;
    T::deserialize(Tracer {
        shape: &mut shape,
        numbers: &numbers,
    })
    .map(drop)
    .expect("the made-up values fit");
    shape
}

struct Numbers {
    next: Cell<usize>,
    extreme: Option<usize>,
    bounded: HashSet<usize>,
}

impl Numbers {
    /// Returns whether the next number is to be the maximum, and whether it is known to reject the maximum.
    fn take(&self) -> (bool, bool) {
        let number = self.next.replace(self.next.get() + 1);
        (self.extreme == Some(number), self.bounded.contains(&number))
    }
}

struct Tracer<'t> {
    shape: &'t mut Shape,
    numbers: &'t Numbers,
}

impl<'t> Tracer<'t> {
    fn within(&self, shape: &'t mut Shape) -> Self {
        Self {
            shape,
            numbers: self.numbers,
        }
    }
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Error;

    // With this, a Uuid requests bytes and differs from a string.
    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_bool<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        *self.shape = Shape::Boolean;
        visitor.visit_bool(true)
    }

    fn deserialize_i32<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (extreme, bounded) = self.numbers.take();
        *self.shape = if bounded { Shape::Date } else { Shape::Int };
        visitor.visit_i32(if extreme { i32::MAX } else { 0 })
    }

    fn deserialize_i64<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (extreme, bounded) = self.numbers.take();
        *self.shape = if bounded { Shape::Time } else { Shape::Long };
        visitor.visit_i64(if extreme { i64::MAX } else { 0 })
    }

    fn deserialize_str<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        *self.shape = Shape::Text;
        visitor.visit_str("")
    }

    fn deserialize_string<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        *self.shape = Shape::Uuid;
        visitor.visit_bytes(&[0; 16])
    }

    fn deserialize_option<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut inner = Shape::Unknown;
        let value = visitor.visit_some(self.within(&mut inner));
        *self.shape = Shape::Nullable(Box::new(inner));
        value
    }

    fn deserialize_seq<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut inner = Shape::Unknown;
        let value = visitor.visit_seq(OneElement(Some(Tracer {
            shape: &mut inner,
            numbers: self.numbers,
        })));
        *self.shape = Shape::Array(Box::new(inner));
        value
    }

    fn deserialize_enum<V: de::Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.shape = Shape::Enum(name.to_owned(), variants.iter().map(ToString::to_string).collect());
        visitor.visit_enum(variants[0].into_deserializer())
    }

    fn deserialize_struct<V: de::Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut shapes = Vec::new();
        let value = visitor.visit_map(Fields {
            names: fields,
            shapes: &mut shapes,
            numbers: self.numbers,
        });
        *self.shape = Shape::Record(name.to_owned(), shapes);
        value
    }

    fn deserialize_any<V: de::Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("a type that the schemas do not use"))
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 f64 char byte_buf unit unit_struct newtype_struct tuple tuple_struct map
        identifier ignored_any
    }
}

struct OneElement<'t>(Option<Tracer<'t>>);

impl<'de> de::SeqAccess<'de> for OneElement<'_> {
    type Error = Error;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|tracer| seed.deserialize(tracer)).transpose()
    }
}

struct Fields<'t> {
    names: &'static [&'static str],
    shapes: &'t mut Vec<(String, Shape)>,
    numbers: &'t Numbers,
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.names
            .get(self.shapes.len())
            .map(|name| seed.deserialize(name.into_deserializer()))
            .transpose()
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let mut shape = Shape::Unknown;
        let value = seed.deserialize(Tracer {
            shape: &mut shape,
            numbers: self.numbers,
        });
        self.shapes.push((self.names[self.shapes.len()].to_owned(), shape));
        value
    }
}
