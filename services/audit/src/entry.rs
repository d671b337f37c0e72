//! Entries: what the log keeps of a record. Pure: a record in, an entry and its findings out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contracts::{Codec, CommandAccepted, Kind, Record as _, Timestamp, Topic, codec, topics};
use messaging::{Envelope, Headers, Record, header};
use mongo::to_bson;
use mongodb::bson::{self, Binary, spec::BinarySubtype};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::finding::{Finding, FindingKind};

/// Where a record stands in the log, which names it: no two records have the same place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Without prefix.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl Place {
    pub(crate) fn of(topic: &Topic, record: &Record) -> Self {
        Self {
            topic: topic.name.to_owned(),
            partition: record.partition.partition,
            offset: record.offset,
        }
    }

    /// Reads what [`Display`](std::fmt::Display) wrote: `users.commands-3-17`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '-');
        let (offset, partition, topic) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            topic: topic.to_owned(),
            partition: partition.parse().ok()?,
            offset: offset.parse().ok()?,
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.topic, self.partition, self.offset)
    }
}

/// The only header of an entry whose record the store refused. Its text says why, and how large the record was.
pub const STUB: &str = "rollcall-stub";
/// The last header of an entry whose record has a key and headers that are too large: only the headers of an envelope are
/// kept. Its text says how large all of them were.
pub const OMITTED: &str = "rollcall-omitted";
/// Headers of the log itself begin so. Those of a record are kept under another name, because its sender must not decide
/// what the log takes for a stub.
const RESERVED: &str = "rollcall-";
/// Stands before the names of a record's headers that begin like those of the log.
const RENAMED: &str = "incoming-";
/// Bytes of a key that a stub keeps: a UUID's text, and more than most keys of third parties have.
const LONGEST_STUB_KEY: usize = 128;
/// Bytes of key and headers together that an entry keeps. With all of them escaped, the leaf still fits into an answer, so
/// that every entry can be proved and exported. Ours have less than 2 KiB.
const LARGEST_ENVELOPE: usize = 64 * 1024;

/// One record, as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    #[serde(rename = "_id")]
    pub place: Place,
    /// When the message was said (`ce_time`), or where that can't be read, when the broker took it. Micros.
    pub time: i64,
    /// The broker's time. Micros.
    pub timestamp: i64,
    pub recorded_at: bson::DateTime,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<bson::Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<bson::Uuid>,
    /// A key that is no UUID in its usual text, as hexadecimal text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<bson::Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<bson::Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// All of them, in their order. A page is read without them.
    #[serde(default)]
    pub headers: Headers,
    /// The value as JSON text, as it was when it was recorded; without personal fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// SHA-256 of the value; none for a record without a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Binary>,
    /// The value itself, where nothing in it is personal, or the answer to a question to this log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Binary>,
    /// Its place in the tree of its partition, from 0. None in what was recorded before there were trees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_hash: Option<Binary>,
}

/// What is kept of a value.
struct Kept {
    content: Option<Json>,
    keep_bytes: bool,
    finding: Option<(FindingKind, String)>,
}

impl Entry {
    /// What the log keeps of a record, and what is strange about it.
    pub fn of(topic: &'static Topic, record: &Record, codec: &Codec) -> (Self, Vec<Finding>) {
        let place = Place::of(topic, record);
        let mut strange = Vec::new();
        let mut malformed = Vec::new();
        if let Err(error) = Envelope::of(record) {
            malformed.push(error.to_string());
        }
        let (key, headers) = match omitted(record) {
            None => {
                let (headers, renamed) = renamed(&record.headers);
                malformed.extend(renamed.then(|| format!("headers begin with {RESERVED}, like those of the log")));
                (record.key.as_deref(), headers)
            }
            Some(what) => {
                strange.push((FindingKind::Refused, what.clone()));
                (short_key(record), envelope_headers(&record.headers, what))
            }
        };
        if !malformed.is_empty() {
            strange.push((FindingKind::MalformedEnvelope, malformed.join("; ")));
        }
        let value = record.value.as_deref();
        let kept = value.map(|value| keep(topic, &record.headers, value, codec));
        let (content, keep_bytes) = match kept {
            Some(kept) => {
                strange.extend(kept.finding);
                (kept.content, kept.keep_bytes)
            }
            None => (None, false),
        };
        let entry = Self {
            content: content.map(|content| content.to_string()),
            sha256: value.map(|value| binary(&Sha256::digest(value))),
            value: value.filter(|_| keep_bytes).map(binary),
            ..Self::without_content(place, record.timestamp.as_micros(), bson::DateTime::now(), key, headers)
        };
        let findings = strange
            .into_iter()
            .map(|(kind, detail)| entry.finding(kind, detail))
            .collect();
        (entry, findings)
    }

    /// What the log keeps of a record that the store refuses: its place, the broker's time, the SHA-256 of its value, and
    /// its key where that is a UUID. `what`, which describes the rest for people, takes the place of the headers.
    pub(crate) fn stub(topic: &'static Topic, record: &Record, what: &str) -> (Self, Vec<Finding>) {
        let entry = Self {
            sha256: record.value.as_deref().map(|value| binary(&Sha256::digest(value))),
            ..Self::without_content(
                Place::of(topic, record),
                record.timestamp.as_micros(),
                bson::DateTime::now(),
                short_key(record),
                Headers(vec![(STUB.to_owned(), what.to_owned())]),
            )
        };
        let finding = entry.finding(FindingKind::Refused, what);
        (entry, vec![finding])
    }

    /// What it can be found by is what its headers say.
    fn without_content(
        place: Place,
        timestamp: i64,
        recorded_at: bson::DateTime,
        key: Option<&[u8]>,
        headers: Headers,
    ) -> Self {
        let id = |name| header::<Uuid>(&headers, name).map(to_bson);
        let uuid = key.and_then(|key| Uuid::try_parse(std::str::from_utf8(key).ok()?).ok());
        let is_usual = |key: &[u8]| uuid.is_some_and(|uuid| uuid.to_string().as_bytes() == key);
        Self {
            time: header::<Timestamp>(&headers, header::TIME).map_or(timestamp, Timestamp::as_micros),
            timestamp,
            recorded_at,
            type_name: header(&headers, header::TYPE),
            message_id: id(header::ID),
            source: header(&headers, header::SOURCE),
            key: uuid.map(to_bson),
            foreign_key: key.filter(|key| !is_usual(key)).map(hex),
            sequence: header(&headers, header::SEQUENCE),
            correlation_id: id(header::CORRELATION_ID),
            causation_id: id(header::CAUSATION_ID),
            actor: header(&headers, header::ACTOR),
            headers,
            content: None,
            sha256: None,
            value: None,
            index: None,
            leaf_hash: None,
            place,
        }
    }

    /// Whether it can be found by what its headers say, and by nothing else.
    pub(crate) fn follows_from_its_headers(&self) -> bool {
        let key = match (&self.foreign_key, self.key) {
            (Some(foreign), _) => unhex(foreign),
            (None, key) => key.map(|key| mongo::from_bson(key).to_string().into_bytes()),
        };
        let said = Self::without_content(
            self.place.clone(),
            self.timestamp,
            self.recorded_at,
            key.as_deref(),
            self.headers.clone(),
        );
        let stored = Self {
            content: None,
            sha256: None,
            value: None,
            index: None,
            leaf_hash: None,
            ..self.clone()
        };
        said == stored
    }

    /// How much of the record it keeps.
    pub(crate) fn bytes(&self) -> usize {
        let headers = self.headers.0.iter().map(|(name, text)| name.len() + text.len());
        let value = self.value.as_ref().map_or(0, |value| value.bytes.len());
        headers.sum::<usize>() + self.content.as_ref().map_or(0, String::len) + value
    }

    pub(crate) fn finding(&self, kind: FindingKind, detail: impl Into<String>) -> Finding {
        Finding::new(self.place.clone(), kind, self.key, self.sequence, detail.into())
    }
}

/// Whether these are the headers of a [stub](Entry::stub). No record has them, because its headers are renamed.
pub(crate) fn is_stub(headers: &Headers) -> bool {
    matches!(headers.0.as_slice(), [(name, _)] if name == STUB)
}

/// Whether headers of the record are missing, because its key and headers are too large.
pub(crate) fn is_reduced(headers: &Headers) -> bool {
    headers.0.last().is_some_and(|(name, _)| name == OMITTED)
}

/// Describes key and headers of a record if they are too large to be kept.
fn omitted(record: &Record) -> Option<String> {
    let key = record.key.as_deref().unwrap_or_default();
    let headers = record.headers.0.iter().map(|(name, text)| name.len() + text.len());
    let in_headers = headers.sum::<usize>();
    (in_headers + key.len() > LARGEST_ENVELOPE).then(|| {
        format!(
            "only the headers of an envelope are kept: {} headers of {in_headers} bytes, whose JSON text has the SHA-256 {}; \
             a key of {} bytes with the SHA-256 {}",
            record.headers.0.len(),
            hex(Sha256::digest(record.headers.to_json())),
            key.len(),
            hex(Sha256::digest(key)),
        )
    })
}

/// The headers that an envelope has, each once, as far as they can be valid, and `what` about the others.
fn envelope_headers(headers: &Headers, what: String) -> Headers {
    let known = header::ALL.iter().filter_map(|name| {
        let text = headers.get(name).filter(|text| text.len() <= header::LONGEST)?;
        Some(((*name).to_owned(), text.to_owned()))
    });
    Headers(known.chain([(OMITTED.to_owned(), what)]).collect())
}

/// The headers with other names for those that are reserved, and whether there are any.
fn renamed(headers: &Headers) -> (Headers, bool) {
    let mut headers = headers.clone();
    let mut any = false;
    for (name, _) in &mut headers.0 {
        if name.starts_with(RESERVED) {
            name.insert_str(0, RENAMED);
            any = true;
        }
    }
    (headers, any)
}

fn short_key(record: &Record) -> Option<&[u8]> {
    record.key.as_deref().filter(|key| key.len() <= LONGEST_STUB_KEY)
}

fn keep(topic: &Topic, headers: &Headers, value: &[u8], codec: &Codec) -> Kept {
    let own = is_own(headers);
    let (name, mut content) = match codec.to_json_without_personal(value) {
        Ok(decoded) => decoded,
        Err(error) => {
            let kind = match error {
                codec::Error::UnknownSchema(_) => FindingKind::UnknownSchema,
                _ => FindingKind::Undecodable,
            };
            return Kept {
                content: None,
                // What can't be read may be personal, where personal fields are allowed. What is larger than any message
                // may be larger than a document.
                keep_bytes: topic.kind != Kind::Commands && !own && value.len() <= codec::MAX_MESSAGE_BYTES,
                finding: Some((kind, error.to_string())),
            };
        }
    };
    let is_personal = !matches!(codec.to_json(value), Ok((_, whole)) if whole == content);
    let is_answer = own && name == CommandAccepted::NAME && topic.name == topics::GATEWAY_REPLIES.name;
    if is_answer {
        hash_result(&mut content);
    }
    let named = headers.get(header::TYPE);
    Kept {
        content: Some(content),
        keep_bytes: !is_personal && !is_answer,
        finding: named
            .filter(|named| *named != name)
            .map(|_| (FindingKind::WrongType, format!("the value is a {name}"))),
    }
}

/// Whether this service said it.
fn is_own(headers: &Headers) -> bool {
    headers.get(header::SOURCE) == Some(concat!("/rollcall/", env!("CARGO_PKG_NAME")))
}

/// Of the answer to a question to this log, what is in the log already is not kept again.
fn hash_result(content: &mut Json) {
    let Some(reply) = content.as_object_mut() else {
        return;
    };
    if let Some(Json::String(result)) = reply.remove("result") {
        reply.insert("result_sha256".to_owned(), hex(Sha256::digest(result)).into());
    }
}

/// A header, where it is there and can be read. What is wrong with it is a finding of its own.
fn header<T: std::str::FromStr>(headers: &Headers, name: &str) -> Option<T> {
    headers.get(name)?.parse().ok()
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that [`hex`] wrote.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    digits.collect()
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn binary(bytes: &[u8]) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use contracts::{CreateUser, Date, DeactivateUser, Message, Reply, UserCommand, UserCreated, UserEvent};
    use messaging::TopicPartition;

    use super::*;

    const KEY: Uuid = Uuid::from_u128(1);

    fn codec() -> Codec {
        Codec::local()
    }

    fn record<M: Message>(source: &str, message: M) -> Record {
        let envelope = Envelope {
            id: Uuid::from_u128(2),
            source: source.to_owned(),
            type_name: message.type_name().to_owned(),
            time: Timestamp::parse("2026-03-01T12:00:00.123456Z").expect("a time"),
            key: KEY,
            sequence: Some(1),
            correlation_id: Uuid::from_u128(3),
            causation_id: Some(Uuid::from_u128(4)),
            actor: Some(contracts::Actor::User(KEY)),
            attempt: 0,
            due_at: None,
            expected_version: None,
            reply_to: None,
            trace_parent: None,
            trace_state: None,
        };
        Record {
            partition: TopicPartition::new(format!("test.{}", M::TOPIC.name), 3),
            offset: 17,
            timestamp: Timestamp::parse("2026-03-01T12:00:01Z").expect("a time"),
            key: Some(Bytes::from(KEY.to_string())),
            value: Some(message.encode(&codec()).expect("it can be encoded").into()),
            headers: envelope.to_headers(None),
        }
    }

    fn user_created() -> Record {
        record(
            "/rollcall/user",
            UserEvent::from(UserCreated {
                created_at: Timestamp::EPOCH,
            }),
        )
    }

    fn create_user() -> Record {
        let command = CreateUser {
            email: "ada@example.org".to_owned(),
            username: "ada_1815".to_owned(),
            full_name: "Ada Lovelace".to_owned(),
            date_of_birth: Date::parse("1990-12-10").expect("a date"),
            time_zone: "Europe/London".to_owned(),
        };
        record("/rollcall/gateway", UserCommand::from(command))
    }

    fn kinds(findings: &[Finding]) -> Vec<FindingKind> {
        findings.iter().map(Finding::kind).collect()
    }

    #[test]
    fn a_record_is_kept_with_its_envelope_content_and_bytes() {
        let record = user_created();
        let (entry, findings) = Entry::of(&topics::USERS, &record, &codec());

        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(entry.place.to_string(), "users-3-17");
        assert_eq!(entry.type_name.as_deref(), Some(UserCreated::NAME));
        assert_eq!(
            entry.actor.as_deref(),
            Some("user:00000000-0000-0000-0000-000000000001")
        );
        assert_eq!(entry.key, Some(to_bson(KEY)));
        assert_eq!(entry.sequence, Some(1));
        assert_eq!(entry.time % 1_000_000, 123_456, "to the microsecond");
        assert_eq!(entry.headers, record.headers);
        assert_eq!(
            entry.content.as_deref(),
            Some(r#"{"created_at":"1970-01-01T00:00:00Z"}"#)
        );
        let value = record.value.expect("it has one");
        assert_eq!(entry.value.map(|value| value.bytes), Some(value.to_vec()));
        assert_eq!(
            entry.sha256.map(|hash| hash.bytes),
            Some(Sha256::digest(value).to_vec())
        );
    }

    #[test]
    fn of_personal_fields_only_the_hash_of_the_bytes_is_kept() {
        let record = create_user();
        let (entry, findings) = Entry::of(&topics::USERS_COMMANDS, &record, &codec());

        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(entry.content.as_deref(), Some(r#"{"time_zone":"Europe/London"}"#));
        assert_eq!(entry.value, None);
        assert!(entry.sha256.is_some());
        let kept = format!("{:?}", bson::serialize_to_document(&entry).expect("a document"));
        for personal in ["ada", "Ada", "Lovelace", "1990"] {
            assert!(!kept.contains(personal), "{kept}");
        }
    }

    #[test]
    fn a_command_without_personal_fields_is_kept_with_its_bytes() {
        let reason = "on request".to_owned();
        let record = record("/rollcall/gateway", UserCommand::from(DeactivateUser { reason }));
        let (entry, _) = Entry::of(&topics::USERS_COMMANDS, &record, &codec());
        assert!(entry.value.is_some());
    }

    #[test]
    fn of_the_logs_own_answers_only_the_hash_of_the_result_is_kept() {
        let accepted = CommandAccepted {
            command_id: Uuid::from_u128(5),
            version: 0,
            effects: Vec::new(),
            result: Some(r#"{"entries":["a secret"]}"#.to_owned()),
        };
        let own = record("/rollcall/audit", Reply::from(accepted.clone()));
        let (entry, findings) = Entry::of(&topics::GATEWAY_REPLIES, &own, &codec());
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(entry.value, None);
        let content: Json = serde_json::from_str(&entry.content.expect("it has one")).expect("JSON");
        assert_eq!(content.get("result"), None);
        assert_eq!(
            content["result_sha256"],
            hex(Sha256::digest(r#"{"entries":["a secret"]}"#))
        );

        let others = record("/rollcall/event", Reply::from(accepted));
        let (entry, _) = Entry::of(&topics::GATEWAY_REPLIES, &others, &codec());
        assert!(entry.value.is_some() && entry.content.is_some_and(|content| content.contains("a secret")));
    }

    #[test]
    fn what_cannot_be_read_is_kept_raw_unless_it_may_be_personal() {
        let garbage = Some(Bytes::from_static(&[0, 0, 0, 0, 1, 0xff]));
        let mut fact = user_created();
        fact.value.clone_from(&garbage);
        let (entry, findings) = Entry::of(&topics::USERS, &fact, &codec());
        assert_eq!(kinds(&findings), [FindingKind::Undecodable]);
        assert!(entry.value.is_some() && entry.content.is_none());

        let mut command = create_user();
        command.value = garbage;
        let (entry, findings) = Entry::of(&topics::USERS_COMMANDS, &command, &codec());
        assert_eq!(kinds(&findings), [FindingKind::Undecodable]);
        assert!(entry.value.is_none() && entry.content.is_none() && entry.sha256.is_some());
    }

    #[test]
    fn a_schema_that_nobody_knows_is_a_finding() {
        let mut record = user_created();
        record.value = Some(Bytes::from_static(&[0, 0, 1, 0, 0, 7]));
        let (_, findings) = Entry::of(&topics::USERS, &record, &codec());
        assert_eq!(kinds(&findings), [FindingKind::UnknownSchema]);
    }

    #[test]
    fn a_foreign_record_is_kept_with_what_it_has() {
        let record = Record {
            key: Some(Bytes::from_static(b"ada")),
            value: None,
            headers: Headers(vec![("x-origin".to_owned(), "elsewhere".to_owned())]),
            ..user_created()
        };
        let (entry, findings) = Entry::of(&topics::USERS, &record, &codec());
        assert_eq!(kinds(&findings), [FindingKind::MalformedEnvelope]);
        assert_eq!((entry.key, entry.foreign_key.as_deref()), (None, Some("616461")));
        assert_eq!(entry.time, entry.timestamp);
        assert_eq!((entry.value, entry.sha256, entry.content), (None, None, None));
    }

    #[test]
    fn an_unusual_key_is_kept_byte_by_byte() {
        let mut record = user_created();
        record.key = Some(Bytes::from(KEY.simple().to_string()));
        let (entry, _) = Entry::of(&topics::USERS, &record, &codec());
        assert_eq!(entry.key, Some(to_bson(KEY)));
        assert_eq!(
            unhex(&entry.foreign_key.clone().expect("it is kept")),
            record.key.map(|key| key.to_vec())
        );
        assert!(entry.follows_from_its_headers());
    }

    #[test]
    fn an_entry_that_can_be_found_by_what_its_headers_do_not_say_is_noticed() {
        let (entry, _) = Entry::of(&topics::USERS, &user_created(), &codec());
        assert!(entry.follows_from_its_headers());
        let altered: [fn(&mut Entry); 6] = [
            |entry| entry.time += 1,
            |entry| entry.sequence = None,
            |entry| entry.foreign_key = Some("616461".to_owned()),
            |entry| entry.actor = Some("service:user".to_owned()),
            |entry| entry.type_name = None,
            |entry| entry.correlation_id = entry.message_id,
        ];
        for alter in altered {
            let mut entry = entry.clone();
            alter(&mut entry);
            assert!(!entry.follows_from_its_headers(), "{entry:?}");
        }
    }

    #[test]
    fn a_value_of_another_type_than_the_envelope_says_is_a_finding() {
        let mut record = user_created();
        record.headers.set(header::TYPE, "rollcall.users.UserDeactivated");
        let (_, findings) = Entry::of(&topics::USERS, &record, &codec());
        assert_eq!(kinds(&findings), [FindingKind::WrongType]);
    }

    #[test]
    fn a_place_survives_its_text() {
        for topic in topics::ALL {
            let place = Place {
                topic: topic.name.to_owned(),
                partition: 11,
                offset: 1_234_567_890_123,
            };
            assert_eq!(Place::parse(&place.to_string()), Some(place));
        }
        for text in ["", "users", "users-1", "users-1-x", "users-x-1"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }
}
