//! Entries of the log. Pure: turns a record into an entry and its findings.

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

/// The position of a record, which identifies it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecordPosition {
    /// Name of the topic, without prefix.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl RecordPosition {
    pub(crate) fn of(topic: &Topic, record: &Record) -> Self {
        Self {
            topic: topic.name.to_owned(),
            partition: record.partition.partition,
            offset: record.offset,
        }
    }

    /// Parses the text that [`Display`](std::fmt::Display) writes, for example `users.commands-3-17`.
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

impl std::fmt::Display for RecordPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.topic, self.partition, self.offset)
    }
}

/// The only header of an entry whose record the store rejected. Its text contains the reason and the size of the record.
pub const STUB: &str = "rollcall-stub";
/// The last header of an entry whose record has a key and headers that are too large. Only the headers of an envelope are
/// kept. Its text contains the size of the original headers.
pub const OMITTED: &str = "rollcall-omitted";
/// Prefix of the log's own headers. Headers of a record with this prefix are renamed, because the sender must not be able to
/// make the log treat a record as a stub.
const RESERVED: &str = "rollcall-";
/// Prefix that is added to the names of a record's headers that begin with [`RESERVED`].
const RENAMED: &str = "incoming-";
/// Maximum length of a key that a stub keeps, in bytes. It is enough for a UUID's text and for most keys of third parties.
const MAX_STUB_KEY_BYTES: usize = 128;
/// Maximum size of key and headers together that an entry keeps, in bytes. Even if every byte is escaped, the leaf fits into a
/// reply, so every entry can be proved and exported. Rollcall's own records have less than 2 KiB.
const MAX_ENVELOPE_BYTES: usize = 64 * 1024;

/// A recorded record, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    #[serde(rename = "_id")]
    pub position: RecordPosition,
    /// Time of the message (`ce_time`), or, if that cannot be read, the broker's time. In microseconds since 1970.
    pub time: i64,
    /// The broker's time, in microseconds since 1970.
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
    /// Key that is not a UUID in its canonical text form, in hexadecimal.
    #[serde(rename = "foreign_key", skip_serializing_if = "Option::is_none")]
    pub noncanonical_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<bson::Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<bson::Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// All headers, in their order. Pages are read without them.
    #[serde(default)]
    pub headers: Headers,
    /// The decoded value as JSON text, without personal fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// SHA-256 of the value. `None` for a record without a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Binary>,
    /// The value, unless it has personal fields or is this log's own reply to a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Binary>,
    /// Index of the leaf in the tree of its partition, from 0. `None` if the entry was recorded by a version without trees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_hash: Option<Binary>,
}

/// The part of a value that is kept.
struct KeptValue {
    content: Option<Json>,
    keep_bytes: bool,
    finding: Option<(FindingKind, String)>,
}

impl Entry {
    /// Returns the entry for a record, and the findings about the record.
    pub fn of(topic: &'static Topic, record: &Record, codec: &Codec) -> (Self, Vec<Finding>) {
        let position = RecordPosition::of(topic, record);
        let mut anomalies = Vec::new();
        let mut malformed = Vec::new();
        if let Err(error) = Envelope::of(record) {
            malformed.push(error.to_string());
        }
        let (key, headers) = match omitted(record) {
            None => {
                let (headers, renamed) = renamed(&record.headers);
                malformed
                    .extend(renamed.then(|| format!("headers begin with {RESERVED}, which is reserved for the log")));
                (record.key.as_deref(), headers)
            }
            Some(what) => {
                anomalies.push((FindingKind::Refused, what.clone()));
                (short_key(record), envelope_headers(&record.headers, what))
            }
        };
        if !malformed.is_empty() {
            anomalies.push((FindingKind::MalformedEnvelope, malformed.join("; ")));
        }
        let value = record.value.as_deref();
        let kept = value.map(|value| keep(topic, &record.headers, value, codec));
        let (content, keep_bytes) = match kept {
            Some(kept) => {
                anomalies.extend(kept.finding);
                (kept.content, kept.keep_bytes)
            }
            None => (None, false),
        };
        let entry = Self {
            content: content.map(|content| content.to_string()),
            sha256: value.map(|value| binary(&Sha256::digest(value))),
            value: value.filter(|_| keep_bytes).map(binary),
            ..Self::without_content(
                position,
                record.timestamp.as_micros(),
                bson::DateTime::now(),
                key,
                headers,
            )
        };
        let findings = anomalies
            .into_iter()
            .map(|(kind, detail)| entry.finding(kind, detail))
            .collect();
        (entry, findings)
    }

    /// Returns the stub of a record that the store rejects: its position, the broker's time, the SHA-256 of its value, and
    /// its key if it is short. `what`, a human-readable description of the rest, replaces the headers.
    pub(crate) fn stub(topic: &'static Topic, record: &Record, what: &str) -> (Self, Vec<Finding>) {
        let entry = Self {
            sha256: record.value.as_deref().map(|value| binary(&Sha256::digest(value))),
            ..Self::without_content(
                RecordPosition::of(topic, record),
                record.timestamp.as_micros(),
                bson::DateTime::now(),
                short_key(record),
                Headers(vec![(STUB.to_owned(), what.to_owned())]),
            )
        };
        let finding = entry.finding(FindingKind::Refused, what);
        (entry, vec![finding])
    }

    /// Returns an entry without content, whose searchable fields are parsed from the headers.
    fn without_content(
        position: RecordPosition,
        timestamp: i64,
        recorded_at: bson::DateTime,
        key: Option<&[u8]>,
        headers: Headers,
    ) -> Self {
        let id = |name| header::<Uuid>(&headers, name).map(to_bson);
        let uuid = key.and_then(|key| Uuid::try_parse(std::str::from_utf8(key).ok()?).ok());
        let is_canonical = |key: &[u8]| uuid.is_some_and(|uuid| uuid.to_string().as_bytes() == key);
        Self {
            time: header::<Timestamp>(&headers, header::TIME).map_or(timestamp, Timestamp::as_micros),
            timestamp,
            recorded_at,
            type_name: header(&headers, header::TYPE),
            message_id: id(header::ID),
            source: header(&headers, header::SOURCE),
            key: uuid.map(to_bson),
            noncanonical_key: key.filter(|key| !is_canonical(key)).map(hex),
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
            position,
        }
    }

    /// Returns `true` if all searchable fields have the values that follow from the headers and the key.
    pub(crate) fn matches_its_headers(&self) -> bool {
        let key = match (&self.noncanonical_key, self.key) {
            (Some(hex), _) => unhex(hex),
            (None, key) => key.map(|key| mongo::from_bson(key).to_string().into_bytes()),
        };
        let expected = Self::without_content(
            self.position.clone(),
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
        expected == stored
    }

    /// Returns the size of the kept headers, content and value, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let headers = self.headers.0.iter().map(|(name, text)| name.len() + text.len());
        let value = self.value.as_ref().map_or(0, |value| value.bytes.len());
        headers.sum::<usize>() + self.content.as_ref().map_or(0, String::len) + value
    }

    pub(crate) fn finding(&self, kind: FindingKind, detail: impl Into<String>) -> Finding {
        Finding::new(self.position.clone(), kind, self.key, self.sequence, detail.into())
    }
}

/// Returns `true` if these are the headers of a [stub](Entry::stub). A record cannot have them, because its headers are renamed.
pub(crate) fn is_stub(headers: &Headers) -> bool {
    matches!(headers.0.as_slice(), [(name, _)] if name == STUB)
}

/// Returns `true` if headers of the record were left out, because its key and headers are too large.
pub(crate) fn is_reduced(headers: &Headers) -> bool {
    headers.0.last().is_some_and(|(name, _)| name == OMITTED)
}

/// Describes the key and headers of a record if they are too large to be kept. Returns `None` if they are not.
fn omitted(record: &Record) -> Option<String> {
    let key = record.key.as_deref().unwrap_or_default();
    let headers = record.headers.0.iter().map(|(name, text)| name.len() + text.len());
    let in_headers = headers.sum::<usize>();
    (in_headers + key.len() > MAX_ENVELOPE_BYTES).then(|| {
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

/// Returns the headers of an envelope, each once and only if its length is valid, followed by `what` about the others.
fn envelope_headers(headers: &Headers, what: String) -> Headers {
    let known = header::ALL.iter().filter_map(|name| {
        let text = headers.get(name).filter(|text| text.len() <= header::LONGEST)?;
        Some(((*name).to_owned(), text.to_owned()))
    });
    Headers(known.chain([(OMITTED.to_owned(), what)]).collect())
}

/// Returns the headers with the reserved names changed, and `true` if there were any.
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
    record.key.as_deref().filter(|key| key.len() <= MAX_STUB_KEY_BYTES)
}

fn keep(topic: &Topic, headers: &Headers, value: &[u8], codec: &Codec) -> KeptValue {
    let own = is_from_this_service(headers);
    let (name, mut content) = match codec.to_json_without_personal(value) {
        Ok(decoded) => decoded,
        Err(error) => {
            let kind = match error {
                codec::Error::UnknownSchema(_) => FindingKind::UnknownSchema,
                _ => FindingKind::Undecodable,
            };
            return KeptValue {
                content: None,
                // An unreadable command may contain personal data, because commands may have personal fields. A value that
                // is larger than any message may be larger than a document can be.
                keep_bytes: topic.kind != Kind::Commands && !own && value.len() <= codec::MAX_MESSAGE_BYTES,
                finding: Some((kind, error.to_string())),
            };
        }
    };
    let is_personal = !matches!(codec.to_json(value), Ok((_, whole)) if whole == content);
    let is_query_reply = own && name == CommandAccepted::NAME && topic.name == topics::GATEWAY_REPLIES.name;
    if is_query_reply {
        hash_result(&mut content);
    }
    let named = headers.get(header::TYPE);
    KeptValue {
        content: Some(content),
        keep_bytes: !is_personal && !is_query_reply,
        finding: named
            .filter(|named| *named != name)
            .map(|_| (FindingKind::WrongType, format!("the value is a {name}"))),
    }
}

/// Returns `true` if this service published the record.
fn is_from_this_service(headers: &Headers) -> bool {
    headers.get(header::SOURCE) == Some(concat!("/rollcall/", env!("CARGO_PKG_NAME")))
}

/// Replaces the result in a reply to a query by its hash, because the log already contains the entries in the result.
fn hash_result(content: &mut Json) {
    let Some(reply) = content.as_object_mut() else {
        return;
    };
    if let Some(Json::String(result)) = reply.remove("result") {
        reply.insert("result_sha256".to_owned(), hex(Sha256::digest(result)).into());
    }
}

/// Parses a header. Returns `None` if it is missing or invalid; an invalid header is reported as a separate finding.
fn header<T: std::str::FromStr>(headers: &Headers, name: &str) -> Option<T> {
    headers.get(name)?.parse().ok()
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parses the text that [`hex`] writes.
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
            value: Some(message.encode(&codec()).expect("the message can be encoded").into()),
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
        assert_eq!(entry.position.to_string(), "users-3-17");
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
        let value = record.value.expect("a value");
        assert_eq!(entry.value.map(|value| value.bytes), Some(value.to_vec()));
        assert_eq!(
            entry.sha256.map(|hash| hash.bytes),
            Some(Sha256::digest(value).to_vec())
        );
    }

    #[test]
    fn only_the_hash_of_a_value_with_personal_fields_is_kept() {
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
    fn only_the_hash_of_the_result_of_the_logs_own_replies_is_kept() {
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
        let content: Json = serde_json::from_str(&entry.content.expect("a value")).expect("JSON");
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
    fn an_unreadable_value_is_kept_unless_it_may_be_personal() {
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
    fn an_unknown_schema_is_a_finding() {
        let mut record = user_created();
        record.value = Some(Bytes::from_static(&[0, 0, 1, 0, 0, 7]));
        let (_, findings) = Entry::of(&topics::USERS, &record, &codec());
        assert_eq!(kinds(&findings), [FindingKind::UnknownSchema]);
    }

    #[test]
    fn a_third_party_record_is_kept_although_it_has_no_envelope() {
        let record = Record {
            key: Some(Bytes::from_static(b"ada")),
            value: None,
            headers: Headers(vec![("x-origin".to_owned(), "elsewhere".to_owned())]),
            ..user_created()
        };
        let (entry, findings) = Entry::of(&topics::USERS, &record, &codec());
        assert_eq!(kinds(&findings), [FindingKind::MalformedEnvelope]);
        assert_eq!((entry.key, entry.noncanonical_key.as_deref()), (None, Some("616461")));
        assert_eq!(entry.time, entry.timestamp);
        assert_eq!((entry.value, entry.sha256, entry.content), (None, None, None));
    }

    #[test]
    fn a_key_that_is_not_in_canonical_form_is_kept_byte_by_byte() {
        let mut record = user_created();
        record.key = Some(Bytes::from(KEY.simple().to_string()));
        let (entry, _) = Entry::of(&topics::USERS, &record, &codec());
        assert_eq!(entry.key, Some(to_bson(KEY)));
        assert_eq!(
            unhex(&entry.noncanonical_key.clone().expect("the key is kept")),
            record.key.map(|key| key.to_vec())
        );
        assert!(entry.matches_its_headers());
    }

    #[test]
    fn an_entry_whose_searchable_fields_do_not_match_its_headers_is_detected() {
        let (entry, _) = Entry::of(&topics::USERS, &user_created(), &codec());
        assert!(entry.matches_its_headers());
        let altered: [fn(&mut Entry); 6] = [
            |entry| entry.time += 1,
            |entry| entry.sequence = None,
            |entry| entry.noncanonical_key = Some("616461".to_owned()),
            |entry| entry.actor = Some("service:user".to_owned()),
            |entry| entry.type_name = None,
            |entry| entry.correlation_id = entry.message_id,
        ];
        for alter in altered {
            let mut entry = entry.clone();
            alter(&mut entry);
            assert!(!entry.matches_its_headers(), "{entry:?}");
        }
    }

    #[test]
    fn a_value_of_another_type_than_the_envelope_names_is_a_finding() {
        let mut record = user_created();
        record.headers.set(header::TYPE, "rollcall.users.UserDeactivated");
        let (_, findings) = Entry::of(&topics::USERS, &record, &codec());
        assert_eq!(kinds(&findings), [FindingKind::WrongType]);
    }

    #[test]
    fn a_position_can_be_parsed_from_its_text() {
        for topic in topics::ALL {
            let position = RecordPosition {
                topic: topic.name.to_owned(),
                partition: 11,
                offset: 1_234_567_890_123,
            };
            assert_eq!(RecordPosition::parse(&position.to_string()), Some(position));
        }
        for text in ["", "users", "users-1", "users-1-x", "users-x-1"] {
            assert_eq!(RecordPosition::parse(text), None, "{text}");
        }
    }
}
