//! Strict extractors: an unknown, missing or oversized part of a request is an error that names this part.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, OriginalUri, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use contracts::Message;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::IntoParams;
use uuid::Uuid;

use super::form::field_error;
use super::json::{NO_NUL, not_json, parse, structural_error};
use crate::app::App;
use crate::error::Error;
use crate::operations::Intent;
use crate::principal::Principal;
use crate::store::operations::{Idempotency, Kind};
use crate::store::page::{self, List, PageCursor, PageRequest};

pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";
pub(super) const PREFER: &str = "prefer";
pub(super) const PREFERENCE_APPLIED: &str = "preference-applied";

/// Time that a write waits for its outcome if the client states no preference.
const DEFAULT_WAIT: Duration = Duration::from_secs(2);
/// Longest time that a client can ask to wait.
const MAX_WAIT: Duration = Duration::from_secs(25);
/// Maximum length of an Idempotency-Key, in bytes.
const MAX_KEY_BYTES: usize = 255;
/// Maximum number of digits of a version in `If-Match`.
const MAX_VERSION_DIGITS: usize = 18;

/// Items on a page if the client sets no limit.
const DEFAULT_LIMIT: u16 = 50;
/// Maximum number of items on a page.
const MAX_LIMIT: u16 = 200;

/// The id in the path. A string that is not a UUID leads to `404`, because no resource has such an id.
pub(super) struct Id(pub(super) Uuid);

/// The string in the path. A string that is not UTF-8 leads to `404`, because no resource has such a name.
pub(super) struct Segment(pub(super) String);

/// The query parameters. An unknown parameter is an error.
pub(super) struct QueryParams<T>(pub(super) T);

/// The body of a write, and the options in its headers.
pub(super) struct Write<T> {
    pub(super) body: T,
    pub(super) options: WriteOptions,
}

/// The headers that control how a write is performed.
pub(super) struct WriteOptions {
    /// The time in `Prefer: wait=n`, if present.
    pub(super) preferred_wait: Option<Duration>,
    /// The version in `If-Match`, if present.
    pub(super) expected_version: Option<i64>,
    method_and_path: String,
    /// The Idempotency-Key and the fingerprint of the request.
    key: Option<(String, [u8; 32])>,
}

/// Body of a write without parameters: empty, or `{}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmptyBody {}

/// Headers of every write.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes in the OpenAPI document what `Write` reads")]
pub(super) struct WriteHeaders {
    /// Makes it safe to send the request again: a repetition with the same key returns the outcome of the first request
    /// and has no further effect. Keys are kept for 24 hours.
    #[param(rename = "Idempotency-Key", pattern = r#"^("[!#-~]{1,255}"|[!#-~]{1,255})$"#)]
    idempotency_key: Option<String>,
    /// `wait=n`: wait up to n seconds for the outcome, at most 25. The default is 2.
    #[param(rename = "Prefer", example = "wait=10")]
    prefer: Option<String>,
}

/// Selects a page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// `next` of the previous page.
    pub(super) cursor: Option<String>,
    /// Maximum number of items on the page, from 1 to 200. The default is 50.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<u16>,
}

impl Paging {
    /// Returns the request for a page of a list without filters.
    pub(super) fn page_request<P: PageCursor>(&self) -> Result<PageRequest<P>, Error> {
        self.page_request_for(List::default())
    }

    /// Returns the request for a page of a list with filters.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the limit is out of range, or the cursor belongs to another list or other filters.
    pub(super) fn page_request_for<P: PageCursor>(&self, list: List) -> Result<PageRequest<P>, Error> {
        let limit = limit(self.limit)?;
        let after = match &self.cursor {
            None => None,
            Some(cursor) => Some(page::decode(cursor, list).ok_or_else(|| {
                let message = "Must be `next` of a previous page of the same list with the same filters.";
                Error::Invalid(vec![field_error("cursor", "malformed", message)])
            })?),
        };
        Ok(PageRequest { after, limit, list })
    }
}

/// Returns the number of items on a page, or the default if the client sets none.
pub(super) fn limit(limit: Option<u16>) -> Result<u16, Error> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        let message = "Must be from 1 to 200.";
        Err(Error::Invalid(vec![field_error("limit", "out-of-range", message)]))
    }
}

impl WriteOptions {
    /// Creates the intent of a signed-in user, with the Idempotency-Key and the wait of this request.
    pub(super) fn intent<M: Message>(
        &self,
        principal: &Principal,
        kind: Kind,
        resource_id: Uuid,
        command: impl Into<M>,
    ) -> Intent<M> {
        Intent::new(kind, principal.actor(), resource_id, command)
            .idempotency(self.idempotency(Some(principal.id)))
            .wait(self.wait())
    }

    /// Returns how long the request waits for the outcome.
    pub(super) fn wait(&self) -> Duration {
        self.preferred_wait.unwrap_or(DEFAULT_WAIT)
    }

    /// Returns the Idempotency-Key in its scope: the principal, or the request itself if no user is signed in. Returns
    /// `None` if the request has no key.
    pub(super) fn idempotency(&self, principal: Option<Uuid>) -> Option<Idempotency> {
        let (key, fingerprint) = self.key.clone()?;
        let scope = match principal {
            Some(user) => format!("user:{user}"),
            None => {
                let fingerprint = Uuid::from_slice(&fingerprint[..16]).expect("16 bytes are a UUID");
                format!("anonymous:{}:{}", self.method_and_path, fingerprint.simple())
            }
        };
        Some(Idempotency {
            scope,
            key,
            fingerprint,
        })
    }

    fn from_parts(parts: &Parts, app: &App, body: &[u8]) -> Result<Self, Error> {
        let method = parts.method.as_str();
        let path = match parts.extensions.get::<OriginalUri>() {
            Some(uri) => uri.path(),
            None => parts.uri.path(),
        };
        let key = match idempotency_key(&parts.headers)? {
            None => None,
            Some(key) => {
                let body: Value = if body.is_empty() {
                    Value::Object(serde_json::Map::new())
                } else {
                    serde_json::from_slice(body).map_err(|_| not_json())?
                };
                Some((key, app.fingerprints().of(method, path, &body)))
            }
        };
        Ok(Self {
            preferred_wait: preferred_wait(&parts.headers),
            expected_version: expected_version(&parts.headers)?,
            method_and_path: format!("{method} {path}"),
            key,
        })
    }
}

impl FromRequestParts<App> for Id {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let id = Path::<Uuid>::from_request_parts(parts, app).await;
        id.map(|Path(id)| Self(id)).map_err(|_| Error::NotFound)
    }
}

impl FromRequestParts<App> for Segment {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let text = Path::<String>::from_request_parts(parts, app).await;
        text.map(|Path(text)| Self(text)).map_err(|_| Error::NotFound)
    }
}

impl<T: DeserializeOwned> FromRequestParts<App> for QueryParams<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        if let Some(field) = parts.uri.query().and_then(parameter_with_nul) {
            return Err(Error::Invalid(vec![field_error(field, "malformed", NO_NUL)]));
        }
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                // "Failed to deserialize query string: limit: invalid digit found in string"
                let text = rejection.body_text();
                let text = text
                    .split_once("query string: ")
                    .map_or(text.as_str(), |(_, text)| text);
                let (path, message) = text.split_once(": ").unwrap_or(("", text));
                Err(Error::Invalid(vec![structural_error(path, message)]))
            }
        }
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Write<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let headers = parts.headers.clone();
        let request = Request::from_parts(parts.clone(), body);
        let bytes = Bytes::from_request(request, app)
            .await
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Error::BodyTooLarge,
                _ => Error::Malformed(
                    "The connection closed before the whole body was received. Send the request again.".to_owned(),
                ),
            })?;
        if !bytes.is_empty() && !is_json(&headers) {
            return Err(Error::MediaType);
        }
        Ok(Self {
            body: parse(&bytes)?,
            options: WriteOptions::from_parts(&parts, app, &bytes)?,
        })
    }
}

/// Returns the name of the first parameter that contains a NUL character, because the database cannot store one.
fn parameter_with_nul(query: &str) -> Option<&str> {
    let parameter = query.split('&').find(|parameter| parameter.contains("%00"))?;
    parameter.split('=').next()
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// Returns the time that the client prefers to wait (RFC 7240): `wait=n`, or zero for `respond-async`.
///
/// Returns `None` if the client states neither. Unknown and malformed preferences are ignored, as the RFC requires.
pub(super) fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut asynchronous = None;
    for preference in preferences.flat_map(|value| value.split([',', ';'])).map(str::trim) {
        match preference.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("wait") => {
                let seconds = value.trim().trim_matches('"').parse().ok();
                if let Some(seconds) = seconds {
                    return Some(Duration::from_secs(seconds).min(MAX_WAIT));
                }
            }
            None if preference.eq_ignore_ascii_case("respond-async") => asynchronous = Some(Duration::ZERO),
            _ => {}
        }
    }
    asynchronous
}

/// Returns the key of the request (draft-ietf-httpapi-idempotency-key-header), with or without its quotation marks.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default().trim();
    let key = key
        .strip_prefix('"')
        .and_then(|key| key.strip_suffix('"'))
        .unwrap_or(key);
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
    if (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(is_allowed) {
        Ok(Some(key.to_owned()))
    } else {
        Err(Error::Malformed(
            "The Idempotency-Key is invalid. Send 1 to 255 visible ASCII characters without quotation marks."
                .to_owned(),
        ))
    }
}

/// Returns the version in `If-Match`, or `None` for `*` or without the header.
///
/// The ETag of a resource is its version in quotation marks, which some clients remove.
fn expected_version(headers: &HeaderMap) -> Result<Option<i64>, Error> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let text = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    let is_number = text.len() <= MAX_VERSION_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    let version = text.parse().ok().filter(|_| is_number);
    match version {
        Some(version) => Ok(Some(version)),
        None => Err(Error::Malformed(
            "The If-Match header is invalid. Send one ETag exactly as it appeared in a response.".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_parameter_with_a_nul_character_is_found() {
        assert_eq!(parameter_with_nul("a=1&b=%00&c=2"), Some("b"));
        assert_eq!(parameter_with_nul("a=%2500"), None);
    }

    #[test]
    fn the_preferred_wait_is_read_from_any_position_and_limited() {
        let wait = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, HeaderValue::from_static(value));
            preferred_wait(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("wait=10"), Some(10));
        assert_eq!(wait("respond-async, wait=7"), Some(7));
        assert_eq!(wait("handling=lenient; Wait=\"3\""), Some(3));
        assert_eq!(wait("wait=600"), Some(25));
        assert_eq!(wait("respond-async"), Some(0));
        assert_eq!(wait("wait=soon"), None);
        assert_eq!(wait("return=minimal"), None);
    }

    #[test]
    fn if_match_contains_one_version() {
        let version = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, HeaderValue::from_static(value));
            expected_version(&headers)
        };
        assert!(matches!(version("\"3\""), Ok(Some(3))));
        assert!(matches!(version("3"), Ok(Some(3))));
        assert!(matches!(version("*"), Ok(None)));
        for value in [
            "\"3",
            "W/\"3\"",
            "\"x\"",
            "\"+3\"",
            "\"\"",
            "\"1\", \"2\"",
            "\"1234567890123456789\"",
            "",
        ] {
            assert!(version(value).is_err(), "{value}");
        }
    }
}
