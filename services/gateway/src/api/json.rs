//! Strict parsing of JSON bodies: every member must be known, and no value may be null or contain a NUL character.

use std::fmt;

use contracts::FieldError;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::form::field_error;
use crate::error::Error;
use crate::problem::MAX_ERRORS;

pub(super) const NO_NUL: &str = "Must not contain NUL characters.";

/// Parses a body strictly. An empty body counts as an empty object. An optional member must be omitted, not null.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let contains = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    if contains(b"null") || contains(b"\\u0000") {
        let errors = ValueCheck::in_body(bytes)?;
        if !errors.is_empty() {
            return Err(Error::Invalid(errors));
        }
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let body = serde_path_to_error::deserialize(&mut json).map_err(|error| match error.inner().classify() {
        Category::Data => Error::Invalid(vec![structural_error(
            &error.path().to_string(),
            &error.inner().to_string(),
        )]),
        _ => not_json(),
    })?;
    json.end().map_err(|_| not_json())?;
    Ok(body)
}

pub(super) fn not_json() -> Error {
    Error::Malformed("The body is not valid JSON.".to_owned())
}

/// Converts an error of serde, without the value that the client sent, because that may be a password.
pub(super) fn structural_error(path: &str, message: &str) -> FieldError {
    let named = |intro: &str| Some(message.split_once(intro)?.1.split('`').next()?.to_owned());
    if let Some(field) = named("unknown field `") {
        return field_error(&field, "unknown", "This field does not exist.");
    }
    if let Some(field) = named("missing field `") {
        return field_error(&field, "required", "This field is required.");
    }
    if let Some(field) = named("duplicate field `") {
        return field_error(&field, "duplicate", "This field must not occur twice.");
    }
    // "invalid type: string "…", expected i32 at line 1 column 12"
    let expected = message.rsplit_once("expected ").map(|(_, expected)| {
        let expected = match expected.split(" at line ").next().unwrap_or(expected) {
            "i32" | "i64" | "u16" => "an integer in the documented range",
            object if object.starts_with("struct ") => "an object",
            expected => expected,
        };
        format!("Must be {expected}.")
    });
    let path = if path == "." { "" } else { path };
    field_error(
        path,
        "malformed",
        &expected.unwrap_or_else(|| "This value is malformed.".to_owned()),
    )
}

/// Finds nulls and NUL characters in a body, at most [`MAX_ERRORS`]. It keeps no value and formats a path only for an
/// error, so it needs no more memory than the body.
#[derive(Default)]
struct ValueCheck {
    /// Path of the current value.
    path: Vec<Step>,
    errors: Vec<FieldError>,
}

enum Step {
    Member(String),
    Item(usize),
}

impl ValueCheck {
    fn in_body(bytes: &[u8]) -> Result<Vec<FieldError>, Error> {
        let mut check = Self::default();
        let mut json = serde_json::Deserializer::from_slice(bytes);
        match check.deserialize(&mut json).and_then(|()| json.end()) {
            Ok(()) => Ok(check.errors),
            Err(_) if check.errors.len() == MAX_ERRORS => Ok(check.errors),
            Err(_) => Err(not_json()),
        }
    }

    fn add<E: serde::de::Error>(&mut self, message: &str) -> Result<(), E> {
        let steps: Vec<String> = self.path.iter().map(ToString::to_string).collect();
        self.errors.push(field_error(&steps.join("."), "malformed", message));
        if self.errors.len() < MAX_ERRORS {
            Ok(())
        } else {
            Err(E::custom("the maximum number of errors is reached"))
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(name) => formatter.write_str(name),
            Self::Item(index) => write!(formatter, "{index}"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut ValueCheck {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut ValueCheck {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.add("Must not be null. Omit the field instead.")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') { self.add(NO_NUL) } else { Ok(()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0.. {
            self.path.push(Step::Item(index));
            let item = items.next_element_seed(&mut *self)?;
            self.path.pop();
            if item.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key()? {
            self.path.push(Step::Member(name));
            members.next_value_seed(&mut *self)?;
            self.path.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        name: String,
        seats: i32,
    }

    fn errors(body: &str) -> Vec<(String, String, String)> {
        match parse::<Pair>(body.as_bytes()) {
            Err(Error::Invalid(errors)) => errors.into_iter().map(|e| (e.field, e.code, e.message)).collect(),
            other => panic!("{body}: {other:?}"),
        }
    }

    fn expected(field: &str, code: &str, message: &str) -> Vec<(String, String, String)> {
        vec![(field.to_owned(), code.to_owned(), message.to_owned())]
    }

    #[test]
    fn a_structural_error_names_its_field_but_not_the_value() {
        let seats = "Must be an integer in the documented range.";
        assert_eq!(
            errors(r#"{"name":"a","seats":"s3cret"}"#),
            expected("seats", "malformed", seats)
        );
        assert_eq!(
            errors(r#"{"name":"a","seats":3000000000}"#),
            expected("seats", "malformed", seats)
        );
        assert_eq!(
            errors(r#"{"name":"a","seats":1,"x":1}"#),
            expected("x", "unknown", "This field does not exist.")
        );
        assert_eq!(
            errors(r#"{"name":"a"}"#),
            expected("seats", "required", "This field is required.")
        );
        assert_eq!(errors(""), expected("name", "required", "This field is required."));
        assert_eq!(
            errors(r#"{"name":"a","name":"b"}"#),
            expected("name", "duplicate", "This field must not occur twice.")
        );
        assert_eq!(errors("[]").len(), 1);
    }

    #[test]
    fn a_body_that_is_not_json_is_malformed() {
        for body in ["{", "nul", r#"{"name":"a","seats":1} x"#, "\u{feff}{}"] {
            assert!(
                matches!(parse::<Pair>(body.as_bytes()), Err(Error::Malformed(_))),
                "{body}"
            );
        }
        let deep = "[".repeat(60_000);
        assert!(matches!(parse::<Value>(deep.as_bytes()), Err(Error::Malformed(_))));
    }

    #[test]
    fn nulls_and_nul_characters_are_named_at_any_depth() {
        let named = |body: &str| match parse::<Value>(body.as_bytes()) {
            Err(Error::Invalid(errors)) => errors.into_iter().map(|error| error.field).collect::<Vec<_>>(),
            other => panic!("{body}: {other:?}"),
        };
        assert_eq!(
            named(r#"{"a":null,"b":["x",null],"c":{"d":"\u0000"}}"#),
            ["a", "b.1", "c.d"]
        );
        assert_eq!(named("null"), [""]);
        assert!(parse::<Value>(br#"{"a":"null","b":"\\u0000"}"#).is_ok());
    }

    #[test]
    fn the_first_of_many_nulls_are_named_by_a_short_path() {
        let (name, nulls) = ("x".repeat(10_000), vec!["null"; 1_000].join(","));
        let Err(Error::Invalid(errors)) = parse::<Value>(format!(r#"{{"{name}":[{nulls}]}}"#).as_bytes()) else {
            panic!("nulls are rejected");
        };
        assert_eq!(errors.len(), MAX_ERRORS);
        assert!(
            errors
                .iter()
                .all(|error| error.field.starts_with("xxx") && error.field.len() <= 300)
        );
        let cut_short = format!("[{nulls}");
        assert!(matches!(parse::<Value>(cut_short.as_bytes()), Err(Error::Invalid(_))));
        for malformed in ["[null", "[null] x"] {
            assert!(matches!(parse::<Value>(malformed.as_bytes()), Err(Error::Malformed(_))));
        }
    }
}
