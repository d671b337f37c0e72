//! Bodies, read strictly: JSON of which every member is known, and neither null nor a text with a NUL.

use std::fmt;

use contracts::FieldError;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::form::fault;
use crate::error::Error;
use crate::problem::MOST_ERRORS;

pub(super) const NO_NUL: &str = "Text without NUL characters.";

/// Strict JSON; no body at all is an object without members. A member that says nothing is left out, not null.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    if holds(b"null") || holds(b"\\u0000") {
        let errors = ValueCheck::in_body(bytes)?;
        if !errors.is_empty() {
            return Err(Error::Invalid(errors));
        }
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let body = serde_path_to_error::deserialize(&mut json).map_err(|error| match error.inner().classify() {
        Category::Data => Error::Invalid(vec![structural(&error.path().to_string(), &error.inner().to_string())]),
        _ => unreadable(),
    })?;
    json.end().map_err(|_| unreadable())?;
    Ok(body)
}

pub(super) fn unreadable() -> Error {
    Error::Malformed("The body is not valid JSON.".to_owned())
}

/// Translates an error of serde, without the text that the client sent, because that may be a password.
pub(super) fn structural(path: &str, message: &str) -> FieldError {
    let named = |intro: &str| Some(message.split_once(intro)?.1.split('`').next()?.to_owned());
    if let Some(field) = named("unknown field `") {
        return fault(&field, "unknown", "There is no such field.");
    }
    if let Some(field) = named("missing field `") {
        return fault(&field, "required", "This field is needed.");
    }
    if let Some(field) = named("duplicate field `") {
        return fault(&field, "duplicate", "This field is there twice.");
    }
    // "invalid type: string "…", expected i32 at line 1 column 12"
    let expected = message.rsplit_once("expected ").map(|(_, expected)| {
        let expected = expected.split(" at line ").next().unwrap_or(expected);
        format!("Expected {expected}.")
    });
    let path = if path == "." { "" } else { path };
    fault(
        path,
        "malformed",
        &expected.unwrap_or_else(|| "This can't be read.".to_owned()),
    )
}

/// Names nulls and texts with a NUL while it reads a body, [`MOST_ERRORS`] at most. It keeps no value that it reads, and
/// writes a path only for an error, so that it takes no more memory than the body.
#[derive(Default)]
struct ValueCheck {
    /// Where it reads.
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
            Err(_) if check.errors.len() == MOST_ERRORS => Ok(check.errors),
            Err(_) => Err(unreadable()),
        }
    }

    fn add<E: serde::de::Error>(&mut self, message: &str) -> Result<(), E> {
        let steps: Vec<String> = self.path.iter().map(ToString::to_string).collect();
        self.errors.push(fault(&steps.join("."), "malformed", message));
        match self.errors.len() < MOST_ERRORS {
            true => Ok(()),
            false => Err(E::custom("these are enough")),
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
        self.add("Not null; leave it out.")
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
        match text.contains('\0') {
            true => self.add(NO_NUL),
            false => Ok(()),
        }
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

    fn faults(body: &str) -> Vec<(String, String, String)> {
        match read::<Pair>(body.as_bytes()) {
            Err(Error::Invalid(errors)) => errors.into_iter().map(|e| (e.field, e.code, e.message)).collect(),
            other => panic!("{body}: {other:?}"),
        }
    }

    fn says(field: &str, code: &str, message: &str) -> Vec<(String, String, String)> {
        vec![(field.to_owned(), code.to_owned(), message.to_owned())]
    }

    #[test]
    fn a_structural_fault_names_its_field_and_never_what_was_sent() {
        let seats = "Expected i32.";
        assert_eq!(
            faults(r#"{"name":"a","seats":"s3cret"}"#),
            says("seats", "malformed", seats)
        );
        assert_eq!(
            faults(r#"{"name":"a","seats":3000000000}"#),
            says("seats", "malformed", seats)
        );
        assert_eq!(
            faults(r#"{"name":"a","seats":1,"x":1}"#),
            says("x", "unknown", "There is no such field.")
        );
        assert_eq!(
            faults(r#"{"name":"a"}"#),
            says("seats", "required", "This field is needed.")
        );
        assert_eq!(faults(""), says("name", "required", "This field is needed."));
        assert_eq!(
            faults(r#"{"name":"a","name":"b"}"#),
            says("name", "duplicate", "This field is there twice.")
        );
        assert_eq!(faults("[]").len(), 1);
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for body in ["{", "nul", r#"{"name":"a","seats":1} x"#, "\u{feff}{}"] {
            assert!(
                matches!(read::<Pair>(body.as_bytes()), Err(Error::Malformed(_))),
                "{body}"
            );
        }
        let deep = "[".repeat(60_000);
        assert!(matches!(read::<Value>(deep.as_bytes()), Err(Error::Malformed(_))));
    }

    #[test]
    fn a_null_and_a_nul_are_named_wherever_they_are() {
        let named = |body: &str| match read::<Value>(body.as_bytes()) {
            Err(Error::Invalid(errors)) => errors.into_iter().map(|error| error.field).collect::<Vec<_>>(),
            other => panic!("{body}: {other:?}"),
        };
        assert_eq!(
            named(r#"{"a":null,"b":["x",null],"c":{"d":"\u0000"}}"#),
            ["a", "b.1", "c.d"]
        );
        assert_eq!(named("null"), [""]);
        assert!(read::<Value>(br#"{"a":"null","b":"\\u0000"}"#).is_ok());
    }

    #[test]
    fn of_many_nulls_the_first_are_named_by_a_short_path() {
        let (name, nulls) = ("x".repeat(10_000), vec!["null"; 1_000].join(","));
        let Err(Error::Invalid(errors)) = read::<Value>(format!(r#"{{"{name}":[{nulls}]}}"#).as_bytes()) else {
            panic!("nulls are rejected");
        };
        assert_eq!(errors.len(), MOST_ERRORS);
        assert!(
            errors
                .iter()
                .all(|error| error.field.starts_with("xxx") && error.field.len() <= 300)
        );
        let cut_short = format!("[{nulls}");
        assert!(matches!(read::<Value>(cut_short.as_bytes()), Err(Error::Invalid(_))));
        for unreadable in ["[null", "[null] x"] {
            assert!(matches!(read::<Value>(unreadable.as_bytes()), Err(Error::Malformed(_))));
        }
    }
}
