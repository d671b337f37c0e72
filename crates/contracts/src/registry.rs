//! Client of a schema registry with Confluent's API.
//! <https://docs.confluent.io/platform/current/schema-registry/develop/api.html>

use std::{fmt, time::Duration};

use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Topic, topics::RecordType};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Pauses before the retries of a request that failed with a server error.
const RETRY_PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Maximum number of bytes of a response: the longest schema that is accepted, with every character escaped.
const MAX_RESPONSE_BYTES: usize = 512 * 1024;

/// Compatibility level at which every version of a schema reads the data of every other version.
pub const FULL_TRANSITIVE: &str = "FULL_TRANSITIVE";

/// Confluent's error code for an unknown subject.
const NO_SUBJECT: i64 = 40401;

/// A schema registry.
#[derive(Clone)]
pub struct Registry {
    base: String,
    http: reqwest::Client,
}

/// Error of a request to the schema registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the schema registry is unreachable (request for {what}): check SCHEMA_REGISTRY_URL and that the registry is running"
    )]
    Unreachable { what: String, source: reqwest::Error },
    #[error("the schema registry returned {status} for {what}: {message}")]
    Refused {
        what: String,
        status: StatusCode,
        message: String,
    },
    #[error("the schema registry does not know {what}")]
    NotFound { what: String },
    /// A third party registered a schema that is larger than any schema of Rollcall.
    #[error("the response of the schema registry for {what} exceeds {MAX_RESPONSE_BYTES} bytes")]
    TooLarge { what: String },
    /// The schema is not compatible with the registered versions of the subject.
    #[error(
        "the schema of {subject} is not compatible with the registered versions: {message}. Give the changed record a \
         new name"
    )]
    Incompatible { subject: String, message: String },
    /// Reported at boot.
    #[error("the schema registry is not up to date: {}. Run `rollcall schemas register`", list(.0))]
    NotRegistered(Vec<Difference>),
}

/// A subject whose registered schemas do not match this version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The registry has no such subject.
    Missing(String),
    /// The registry has the subject, but without this version's schema.
    Other(String),
}

enum Lookup {
    Id(i32),
    NoSubject,
    NoSuchVersion,
}

impl Registry {
    /// Creates a client. `base_url` is the URL to which `/subjects` is appended, e.g. `http://127.0.0.1:8081/apis/ccompat/v7`.
    pub fn new(base_url: &str) -> Self {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .expect("a client without custom TLS and proxy settings can be built");
        Self {
            base: base_url.trim_end_matches('/').to_owned(),
            http,
        }
    }

    /// Registers a schema under a subject and returns its id. An already registered schema keeps its id.
    ///
    /// # Errors
    /// Returns [`Error::Incompatible`] if the subject has a version with which the schema is not compatible.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<i32, Error> {
        #[derive(Deserialize)]
        struct Registered {
            id: i32,
        }
        let request = self
            .request(Method::POST, &["subjects", subject, "versions"])
            .json(&schema_body(schema));
        match self.send(request, subject).await? {
            Response::Ok(body) => parse::<Registered>(body, subject).map(|registered| registered.id),
            Response::Error {
                status: StatusCode::CONFLICT,
                message,
                ..
            } => Err(Error::Incompatible {
                subject: subject.to_owned(),
                message,
            }),
            other => Err(other.unexpected(subject)),
        }
    }

    /// Returns the id under which the subject has exactly this schema, or `None` if it does not have it.
    pub async fn lookup(&self, subject: &str, schema: &str) -> Result<Option<i32>, Error> {
        match self.find(subject, schema).await? {
            Lookup::Id(id) => Ok(Some(id)),
            Lookup::NoSubject | Lookup::NoSuchVersion => Ok(None),
        }
    }

    /// Returns the text of the schema with this id.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] for an unknown id, and [`Error::TooLarge`] for a schema beyond the limit.
    pub async fn schema(&self, id: i32) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Stored {
            schema: String,
        }
        let what = format!("schema {id}");
        let request = self.request(Method::GET, &["schemas", "ids", &id.to_string()]);
        match self.send(request, &what).await? {
            Response::Ok(body) => parse::<Stored>(body, &what).map(|stored| stored.schema),
            Response::Error {
                status: StatusCode::NOT_FOUND,
                code: Some(_),
                ..
            } => Err(Error::NotFound { what }),
            other => Err(other.unexpected(&what)),
        }
    }

    /// Sets the compatibility level of the subject, e.g. [`FULL_TRANSITIVE`].
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), Error> {
        let request = self
            .request(Method::PUT, &["config", subject])
            .json(&json!({ "compatibility": level }));
        match self.send(request, subject).await? {
            Response::Ok(_) => Ok(()),
            other => Err(other.unexpected(subject)),
        }
    }

    /// Checks whether the subject accepts this schema as its next version. Returns `Err` with the registry's reasons if it
    /// does not. An unknown subject accepts any schema.
    pub async fn check_compatibility(&self, subject: &str, schema: &str) -> Result<Result<(), Vec<String>>, Error> {
        #[derive(Deserialize)]
        struct Checked {
            is_compatible: bool,
            #[serde(default)]
            messages: Vec<String>,
        }
        let request = self
            .request(Method::POST, &["compatibility", "subjects", subject, "versions"])
            .query(&[("verbose", "true")])
            .json(&schema_body(schema));
        match self.send(request, subject).await? {
            Response::Ok(body) => {
                let checked: Checked = parse(body, subject)?;
                Ok(if checked.is_compatible {
                    Ok(())
                } else {
                    Err(checked.messages)
                })
            }
            Response::Error {
                status: StatusCode::NOT_FOUND,
                code: Some(_),
                ..
            } => Ok(Ok(())),
            other => Err(other.unexpected(subject)),
        }
    }

    /// Registers every record of `topics`, fully compatible with all its earlier versions, and returns the ids by full
    /// name. Calling it again changes nothing. `prefix` is prepended to the subjects, so tests can share a registry;
    /// it is empty otherwise.
    pub async fn register_all(&self, topics: &[&Topic], prefix: &str) -> Result<Vec<(&'static str, i32)>, Error> {
        let mut ids = Vec::new();
        for (subject, record) in subjects(topics, prefix) {
            self.set_compatibility(&subject, FULL_TRANSITIVE).await?;
            ids.push((record.name, self.register(&subject, record.schema).await?));
        }
        Ok(ids)
    }

    /// Returns the ids of every record of `topics`, by full name.
    ///
    /// # Errors
    /// Returns [`Error::NotRegistered`] with all missing and different subjects.
    pub async fn lookup_all(&self, topics: &[&Topic], prefix: &str) -> Result<Vec<(&'static str, i32)>, Error> {
        let mut ids = Vec::new();
        let mut differences = Vec::new();
        for (subject, record) in subjects(topics, prefix) {
            match self.find(&subject, record.schema).await? {
                Lookup::Id(id) => ids.push((record.name, id)),
                Lookup::NoSubject => differences.push(Difference::Missing(subject)),
                Lookup::NoSuchVersion => differences.push(Difference::Other(subject)),
            }
        }
        if differences.is_empty() {
            Ok(ids)
        } else {
            Err(Error::NotRegistered(differences))
        }
    }

    async fn find(&self, subject: &str, schema: &str) -> Result<Lookup, Error> {
        #[derive(Deserialize)]
        struct Found {
            id: i32,
        }
        let request = self
            .request(Method::POST, &["subjects", subject])
            .json(&schema_body(schema));
        match self.send(request, subject).await? {
            Response::Ok(body) => parse::<Found>(body, subject).map(|found| Lookup::Id(found.id)),
            Response::Error {
                status: StatusCode::NOT_FOUND,
                code: Some(NO_SUBJECT),
                ..
            } => Ok(Lookup::NoSubject),
            Response::Error {
                status: StatusCode::NOT_FOUND,
                code: Some(_),
                ..
            } => Ok(Lookup::NoSuchVersion),
            other => Err(other.unexpected(subject)),
        }
    }

    // Subjects contain only letters, digits, dots, dashes and underscores, so they need no escaping.
    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.request(method, format!("{}/{}", self.base, path.join("/")))
    }

    /// Sends a request and retries it after a server error, because a registry whose store was restarted returns one
    /// for each stale connection. Every request to the registry can be repeated safely.
    async fn send(&self, request: RequestBuilder, what: &str) -> Result<Response, Error> {
        for pause in RETRY_PAUSES {
            let again = request.try_clone().expect("a request with a JSON body can be cloned");
            match self.send_once(again, what).await? {
                Response::Error { status, .. } if status.is_server_error() => tokio::time::sleep(pause).await,
                response => return Ok(response),
            }
        }
        self.send_once(request, what).await
    }

    async fn send_once(&self, request: RequestBuilder, what: &str) -> Result<Response, Error> {
        // The URL may contain a password.
        let unreachable = |source: reqwest::Error| Error::Unreachable {
            what: what.to_owned(),
            source: source.without_url(),
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(Error::TooLarge { what: what.to_owned() });
            }
            body.extend_from_slice(&chunk);
        }
        let body = serde_json::from_slice(&body);
        if status.is_success() {
            return body.map(Response::Ok).map_err(|error| Error::Refused {
                what: what.to_owned(),
                status,
                message: format!("unexpected response: {error}"),
            });
        }
        let body: Value = body.unwrap_or_default();
        Ok(Response::Error {
            status,
            code: body["error_code"].as_i64(),
            message: body["message"].as_str().unwrap_or("no reason given").to_owned(),
        })
    }
}

enum Response {
    Ok(Value),
    Error {
        status: StatusCode,
        /// `None` if the response is not from a registry, but for example from a proxy in front of it.
        code: Option<i64>,
        message: String,
    },
}

impl Response {
    fn unexpected(self, what: &str) -> Error {
        let what = what.to_owned();
        match self {
            Self::Ok(_) => Error::Refused {
                what,
                status: StatusCode::OK,
                message: "unexpected response".to_owned(),
            },
            Self::Error { status, message, .. } => Error::Refused { what, status, message },
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(body: Value, what: &str) -> Result<T, Error> {
    T::deserialize(body).map_err(|error| Error::Refused {
        what: what.to_owned(),
        status: StatusCode::OK,
        message: format!("unexpected response: {error}"),
    })
}

fn schema_body(schema: &str) -> Value {
    json!({ "schema": schema, "schemaType": "AVRO" })
}

fn subjects<'a>(topics: &'a [&Topic], prefix: &'a str) -> impl Iterator<Item = (String, &'static RecordType)> + 'a {
    topics.iter().flat_map(move |topic| {
        topic
            .records
            .iter()
            .map(move |record| (format!("{prefix}{}", topic.subject(record.name)), record))
    })
}

fn list(differences: &[Difference]) -> String {
    differences
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(subject) => write!(f, "{subject} is missing"),
            Self::Other(subject) => write!(f, "{subject} has a different schema"),
        }
    }
}

impl fmt::Debug for Registry {
    // Without the URL, because it may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
