//! Fingerprints of requests. They show whether two requests with the same Idempotency-Key are equal.

use std::sync::Arc;

use chassis::settings::Secret;
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;

/// Computes the HMAC-SHA256 of requests under a secret key. Cheap to clone.
///
/// A plain hash would not be safe, because a body may hold a password, which an attacker could find by hashing guesses.
#[derive(Clone)]
pub struct Fingerprints(Arc<Hmac<Sha256>>);

impl Fingerprints {
    pub fn new(key: &Secret) -> Self {
        let mac = Hmac::new_from_slice(key.expose().as_bytes()).expect("HMAC takes keys of any length");
        Self(Arc::new(mac))
    }

    /// Returns the fingerprint of method, path and body. Bodies with equal JSON values have the same fingerprint.
    pub fn of(&self, method: &str, path: &str, body: &Value) -> [u8; 32] {
        let mut mac = Hmac::clone(&self.0);
        for part in [method, path] {
            mac.update(part.as_bytes());
            mac.update(b"\n");
        }
        let mut text = String::new();
        canonical(body, &mut text);
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// Appends a canonical text of the value: sorted member names, no white space. It does not follow RFC 8785, because only the
/// gateway compares these bytes.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (name, value) in members {
                text.push_str(&Value::String(name.clone()).to_string());
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use chassis::settings::Settings;
    use serde_json::json;

    use super::*;

    fn fingerprints(key: &str) -> Fingerprints {
        let key = Settings::from_map([("KEY", key)]).read(|read| read.required("KEY", "k", "a key"));
        Fingerprints::new(&key.expect("valid"))
    }

    #[test]
    fn a_fingerprint_does_not_depend_on_the_order_of_members() {
        let fingerprints = fingerprints("one");
        let of = |text: &str| fingerprints.of("POST", "/v1/users", &serde_json::from_str(text).expect("JSON"));
        let first = of(r#"{ "a": 1, "b": { "c": [1, 2], "d": "x" } }"#);
        assert_eq!(of(r#"{"b":{"d":"x","c":[1,2]},"a":1}"#), first);
        assert_ne!(of(r#"{"b":{"d":"x","c":[2,1]},"a":1}"#), first);
        assert_ne!(of(r#"{"b":{"d":"x","c":[1,2]},"a":"1"}"#), first);
    }

    #[test]
    fn a_fingerprint_depends_on_key_method_and_path() {
        let body = json!({});
        let first = fingerprints("one").of("POST", "/v1/users", &body);
        assert_ne!(fingerprints("two").of("POST", "/v1/users", &body), first);
        assert_ne!(fingerprints("one").of("PUT", "/v1/users", &body), first);
        assert_ne!(fingerprints("one").of("POST", "/v1/events", &body), first);
    }
}
