//! Requests, read strictly: what is unknown, missing or too much is an error that says so.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, OriginalUri, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::IntoParams;
use uuid::Uuid;

use super::form::fault;
use super::json::{NO_NUL, read, structural, unreadable};
use crate::app::App;
use crate::error::Error;
use crate::store::operations::Idempotency;
use crate::store::page::{self, List, PageCursor, PageRequest};

pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";
pub(super) const PREFER: &str = "prefer";
pub(super) const PREFERENCE_APPLIED: &str = "preference-applied";

/// How long a write waits for its outcome if the client does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(25);
const LONGEST_KEY: usize = 255;
/// In digits.
const LONGEST_VERSION: usize = 18;

const DEFAULT_LIMIT: u16 = 50;
const LARGEST_LIMIT: u16 = 200;

/// The id in the path. A text that is none names nothing.
pub(super) struct Id(pub(super) Uuid);

/// The text in the path. One that is not UTF-8 names nothing.
pub(super) struct Segment(pub(super) String);

/// The query, with no more than is known.
pub(super) struct Asked<T>(pub(super) T);

/// The body of a write, and how it is to be answered.
pub(super) struct Write<T> {
    pub(super) body: T,
    pub(super) call: Call,
}

/// How a write is to be answered.
pub(super) struct Call {
    /// `Prefer: wait=n`.
    pub(super) asked_wait: Option<Duration>,
    /// The version in `If-Match`.
    pub(super) expected_version: Option<i64>,
    method_and_path: String,
    key: Option<(String, [u8; 32])>,
}

/// Of writes that need nothing said: an empty body, or `{}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Headers of every write.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "says in the document what `Write` reads")]
pub(super) struct WriteHeaders {
    /// Makes it safe to send the request again: the same key with the same request is answered with the outcome of
    /// the first. Kept for 24 hours.
    #[param(rename = "Idempotency-Key", pattern = r#"^("[!#-~]{1,255}"|[!#-~]{1,255})$"#)]
    idempotency_key: Option<String>,
    /// `wait=n`: wait so many seconds for the outcome, at most 25; else 2.
    #[param(rename = "Prefer", example = "wait=10")]
    prefer: Option<String>,
}

/// A page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// `next` of the page before.
    pub(super) cursor: Option<String>,
    /// Items on a page, from 1 to 200; else 50.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<u16>,
}

impl Paging {
    /// Of a list without filters.
    pub(super) fn cut<P: PageCursor>(&self) -> Result<PageRequest<P>, Error> {
        self.cut_of(List::default())
    }

    pub(super) fn cut_of<P: PageCursor>(&self, list: List) -> Result<PageRequest<P>, Error> {
        let limit = limit(self.limit)?;
        let after = match &self.cursor {
            None => None,
            Some(cursor) => Some(page::decode(cursor, list).ok_or_else(|| {
                let message = "Give it as it was in `next`, to the same list with the same filters.";
                Error::Invalid(vec![fault("cursor", "malformed", message)])
            })?),
        };
        Ok(PageRequest { after, limit, list })
    }
}

pub(super) fn limit(asked: Option<u16>) -> Result<u16, Error> {
    let limit = asked.unwrap_or(DEFAULT_LIMIT);
    match (1..=LARGEST_LIMIT).contains(&limit) {
        true => Ok(limit),
        false => Err(Error::Invalid(vec![fault("limit", "out-of-range", "From 1 to 200.")])),
    }
}

impl Call {
    /// How long to wait for the outcome.
    pub(super) fn wait(&self) -> Duration {
        self.asked_wait.unwrap_or(DEFAULT_WAIT)
    }

    /// The key's scope is the principal; of those who are not signed in, the request itself.
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

    fn of(parts: &Parts, app: &App, body: &[u8]) -> Result<Self, Error> {
        let method = parts.method.as_str();
        let path = match parts.extensions.get::<OriginalUri>() {
            Some(uri) => uri.path(),
            None => parts.uri.path(),
        };
        let key = match idempotency_key(&parts.headers)? {
            None => None,
            Some(key) => {
                // It was read already, so it can be.
                let body: Value = match body.is_empty() {
                    true => Value::Object(serde_json::Map::new()),
                    false => serde_json::from_slice(body).map_err(|_| unreadable())?,
                };
                Some((key, app.fingerprints().of(method, path, &body)))
            }
        };
        Ok(Self {
            asked_wait: asked_wait(&parts.headers),
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

impl<T: DeserializeOwned> FromRequestParts<App> for Asked<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        if let Some(field) = parts.uri.query().and_then(with_nul) {
            return Err(Error::Invalid(vec![fault(field, "malformed", NO_NUL)]));
        }
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => {
                // "Failed to deserialize query string: limit: invalid digit found in string"
                let text = rejection.body_text();
                let text = text
                    .split_once("query string: ")
                    .map_or(text.as_str(), |(_, text)| text);
                let (path, message) = text.split_once(": ").unwrap_or(("", text));
                Err(Error::Invalid(vec![structural(path, message)]))
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
                _ => Error::Malformed("The body did not arrive whole.".to_owned()),
            })?;
        if !bytes.is_empty() && !is_json(&headers) {
            return Err(Error::MediaType);
        }
        Ok(Self {
            body: read(&bytes)?,
            call: Call::of(&parts, app, &bytes)?,
        })
    }
}

/// The first parameter with a NUL in it: no text of ours has one.
fn with_nul(query: &str) -> Option<&str> {
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

/// RFC 7240. What is not understood is ignored, as it says.
pub(super) fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut asynchronous = None;
    for preference in preferences.flat_map(|value| value.split([',', ';'])).map(str::trim) {
        match preference.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("wait") => {
                let seconds = value.trim().trim_matches('"').parse().ok();
                if let Some(seconds) = seconds {
                    return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
                }
            }
            None if preference.eq_ignore_ascii_case("respond-async") => asynchronous = Some(Duration::ZERO),
            _ => {}
        }
    }
    asynchronous
}

/// draft-ietf-httpapi-idempotency-key-header; with or without its quotation marks.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default().trim();
    let key = key
        .strip_prefix('"')
        .and_then(|key| key.strip_suffix('"'))
        .unwrap_or(key);
    let is_one = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
    match (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(is_one) {
        true => Ok(Some(key.to_owned())),
        false => Err(Error::Malformed(
            "An Idempotency-Key has 1 to 255 visible ASCII characters, but no quotation marks.".to_owned(),
        )),
    }
}

/// An ETag is the version in quotation marks; some clients take them away.
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
    let is_number = text.len() <= LONGEST_VERSION && text.bytes().all(|byte| byte.is_ascii_digit());
    let version = text.parse().ok().filter(|_| is_number);
    match version {
        Some(version) => Ok(Some(version)),
        None => Err(Error::Malformed("If-Match holds one ETag, as it was given.".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_parameter_with_a_nul_is_named() {
        assert_eq!(with_nul("a=1&b=%00&c=2"), Some("b"));
        assert_eq!(with_nul("a=%2500"), None);
    }

    #[test]
    fn a_wait_is_understood_wherever_it_stands_and_has_a_limit() {
        let wait = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, HeaderValue::from_static(value));
            asked_wait(&headers).map(|wait| wait.as_secs())
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
    fn an_etag_is_a_version() {
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
