//! Client of a schema registry that speaks Confluent's API.
//! <https://docs.confluent.io/platform/current/schema-registry/develop/api.html>

use std::{fmt, time::Duration};

use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Topic, topics::RecordType};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Pauses before a request that the registry answered with an error of its own is repeated.
const RETRY_PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Bytes of an answer: a schema of the longest text that is decoded with, every character of it escaped.
const MAX_ANSWER_BYTES: usize = 512 * 1024;

/// Every version can read every other one's data.
pub const FULL_TRANSITIVE: &str = "FULL_TRANSITIVE";

/// Confluent's code for "there is no such subject".
const NO_SUBJECT: i64 = 40401;

/// A schema registry.
#[derive(Clone)]
pub struct Registry {
    base: String,
    http: reqwest::Client,
}

/// Why the registry could not be asked, or what it said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the schema registry could not be asked about {what}: check SCHEMA_REGISTRY_URL, and that it is up")]
    Unreachable { what: String, source: reqwest::Error },
    #[error("the schema registry answered {status} about {what}: {message}")]
    Refused {
        what: String,
        status: StatusCode,
        message: String,
    },
    #[error("the schema registry does not know {what}")]
    NotFound { what: String },
    /// Somebody registered a schema that no record of ours needs to have.
    #[error("the schema registry's answer about {what} has more than {MAX_ANSWER_BYTES} bytes")]
    TooLarge { what: String },
    /// The subject has schemas, and ours breaks its compatibility.
    #[error(
        "the schema of {subject} is not compatible with what the registry has: {message}. A change that schema \
         resolution can't do is a new record name"
    )]
    Incompatible { subject: String, message: String },
    /// At boot.
    #[error("the schema registry is not up to date: {}. Run `rollcall schemas register`", list(.0))]
    NotRegistered(Vec<Difference>),
}

/// A subject that the registry has not as we have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The registry has no such subject.
    Missing(String),
    /// The registry has this subject otherwise.
    Other(String),
}

enum Lookup {
    Id(i32),
    NoSubject,
    NoSuchVersion,
}

impl Registry {
    /// `base_url` is what subjects are appended to, e.g. `http://127.0.0.1:8081/apis/ccompat/v7`.
    pub fn new(base_url: &str) -> Self {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .expect("a client without TLS and proxy settings of its own can be built");
        Self {
            base: base_url.trim_end_matches('/').to_owned(),
            http,
        }
    }

    /// Registers a schema under a subject; the id of the same schema, if it is there already.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<i32, Error> {
        #[derive(Deserialize)]
        struct Registered {
            id: i32,
        }
        let request = self
            .request(Method::POST, &["subjects", subject, "versions"])
            .json(&schema_body(schema));
        match self.send(request, subject).await? {
            Answer::Ok(body) => parse::<Registered>(body, subject).map(|registered| registered.id),
            Answer::Error {
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

    /// The id under which the subject has exactly this schema.
    pub async fn lookup(&self, subject: &str, schema: &str) -> Result<Option<i32>, Error> {
        match self.look(subject, schema).await? {
            Lookup::Id(id) => Ok(Some(id)),
            Lookup::NoSubject | Lookup::NoSuchVersion => Ok(None),
        }
    }

    /// The text of the schema of that id.
    pub async fn schema(&self, id: i32) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Stored {
            schema: String,
        }
        let what = format!("schema {id}");
        let request = self.request(Method::GET, &["schemas", "ids", &id.to_string()]);
        match self.send(request, &what).await? {
            Answer::Ok(body) => parse::<Stored>(body, &what).map(|stored| stored.schema),
            Answer::Error {
                status: StatusCode::NOT_FOUND,
                ..
            } => Err(Error::NotFound { what }),
            other => Err(other.unexpected(&what)),
        }
    }

    /// Sets what a new version of the subject is checked against, e.g. [`FULL_TRANSITIVE`].
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), Error> {
        let request = self
            .request(Method::PUT, &["config", subject])
            .json(&json!({ "compatibility": level }));
        match self.send(request, subject).await? {
            Answer::Ok(_) => Ok(()),
            other => Err(other.unexpected(subject)),
        }
    }

    /// Whether the subject would take this schema as its next version; if not, the registry's reasons. A subject that
    /// isn't there takes any.
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
            Answer::Ok(body) => {
                let checked: Checked = parse(body, subject)?;
                Ok(if checked.is_compatible {
                    Ok(())
                } else {
                    Err(checked.messages)
                })
            }
            Answer::Error {
                status: StatusCode::NOT_FOUND,
                ..
            } => Ok(Ok(())),
            other => Err(other.unexpected(subject)),
        }
    }

    /// Registers every record of `topics`, fully compatible with all its earlier versions, and returns the ids by full
    /// name. Doing it again changes nothing. `prefix` stands before the subjects, so that tests can share a registry;
    /// it is empty otherwise.
    pub async fn register_all(&self, topics: &[&Topic], prefix: &str) -> Result<Vec<(&'static str, i32)>, Error> {
        let mut ids = Vec::new();
        for (subject, record) in subjects(topics, prefix) {
            self.set_compatibility(&subject, FULL_TRANSITIVE).await?;
            ids.push((record.name, self.register(&subject, record.schema).await?));
        }
        Ok(ids)
    }

    /// The ids of every record of `topics`, by full name; else [`Error::NotRegistered`] with all that is missing or
    /// different.
    pub async fn lookup_all(&self, topics: &[&Topic], prefix: &str) -> Result<Vec<(&'static str, i32)>, Error> {
        let mut ids = Vec::new();
        let mut differences = Vec::new();
        for (subject, record) in subjects(topics, prefix) {
            match self.look(&subject, record.schema).await? {
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

    async fn look(&self, subject: &str, schema: &str) -> Result<Lookup, Error> {
        #[derive(Deserialize)]
        struct Found {
            id: i32,
        }
        let request = self
            .request(Method::POST, &["subjects", subject])
            .json(&schema_body(schema));
        match self.send(request, subject).await? {
            Answer::Ok(body) => parse::<Found>(body, subject).map(|found| Lookup::Id(found.id)),
            Answer::Error {
                status: StatusCode::NOT_FOUND,
                code: Some(NO_SUBJECT),
                ..
            } => Ok(Lookup::NoSubject),
            Answer::Error {
                status: StatusCode::NOT_FOUND,
                ..
            } => Ok(Lookup::NoSuchVersion),
            other => Err(other.unexpected(subject)),
        }
    }

    // Subjects hold nothing but letters, digits, dots, dashes and underscores: no need to escape.
    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.request(method, format!("{}/{}", self.base, path.join("/")))
    }

    /// Sends a request, and repeats it after an error of the server: a registry whose own store was restarted reports one
    /// for each stale connection. Every request to the registry may be repeated.
    async fn send(&self, request: RequestBuilder, what: &str) -> Result<Answer, Error> {
        for pause in RETRY_PAUSES {
            let again = request.try_clone().expect("a request with a JSON body can be cloned");
            match self.send_once(again, what).await? {
                Answer::Error { status, .. } if status.is_server_error() => tokio::time::sleep(pause).await,
                answer => return Ok(answer),
            }
        }
        self.send_once(request, what).await
    }

    async fn send_once(&self, request: RequestBuilder, what: &str) -> Result<Answer, Error> {
        // The URL may hold a password.
        let unreachable = |source: reqwest::Error| Error::Unreachable {
            what: what.to_owned(),
            source: source.without_url(),
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Error::TooLarge { what: what.to_owned() });
            }
            body.extend_from_slice(&chunk);
        }
        let body = serde_json::from_slice(&body);
        if status.is_success() {
            return body.map(Answer::Ok).map_err(|error| Error::Refused {
                what: what.to_owned(),
                status,
                message: format!("unexpected answer, {error}"),
            });
        }
        let body: Value = body.unwrap_or_default();
        Ok(Answer::Error {
            status,
            code: body["error_code"].as_i64(),
            message: body["message"].as_str().unwrap_or("no reason given").to_owned(),
        })
    }
}

enum Answer {
    Ok(Value),
    Error {
        status: StatusCode,
        code: Option<i64>,
        message: String,
    },
}

impl Answer {
    fn unexpected(self, what: &str) -> Error {
        let what = what.to_owned();
        match self {
            Self::Ok(_) => Error::Refused {
                what,
                status: StatusCode::OK,
                message: "unexpected answer".to_owned(),
            },
            Self::Error { status, message, .. } => Error::Refused { what, status, message },
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(body: Value, what: &str) -> Result<T, Error> {
    T::deserialize(body).map_err(|error| Error::Refused {
        what: what.to_owned(),
        status: StatusCode::OK,
        message: format!("unexpected answer, {error}"),
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
            Self::Other(subject) => write!(f, "{subject} is there, but otherwise"),
        }
    }
}

impl fmt::Debug for Registry {
    // Not the URL: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
