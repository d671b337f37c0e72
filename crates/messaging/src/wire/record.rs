//! Raw Kafka records. They are stored when they are parked or dead-lettered.

mod headers;

use std::fmt;

use bytes::Bytes;
use contracts::Timestamp;
use rdkafka::message::{BorrowedMessage, Message as _};
use serde::{Deserialize, Serialize};

/// A partition of a topic, named with its prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// Header names and values, in order. All of Rollcall's headers are UTF-8. In headers of other producers, invalid bytes
/// are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// Returns the text of the first header with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Sets the text of a header; appends the header if it is missing.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some(header) => header.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Returns the headers as one JSON text, for stores.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings can always be serialized")
    }

    /// Reads the JSON text that [`to_json`](Self::to_json) returns.
    ///
    /// # Errors
    /// Returns an error if the text is not a JSON array of pairs of strings.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// One record of a Kafka log.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub partition: TopicPartition,
    pub offset: i64,
    /// The broker's timestamp.
    pub timestamp: Timestamp,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Headers,
}

impl Record {
    /// Returns the size of the key, the value and the headers in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let headers = self.headers.0.iter().map(|(name, text)| name.len() + text.len());
        let key = self.key.as_ref().map_or(0, Bytes::len);
        key + self.value.as_ref().map_or(0, Bytes::len) + headers.sum::<usize>()
    }

    /// Copies a fetched record. Nothing in a record can make this fail: text that is not UTF-8 is kept with its invalid
    /// bytes replaced, and a timestamp that no calendar contains becomes the present time.
    pub fn read(message: &BorrowedMessage<'_>) -> Self {
        let millis = message.timestamp().to_millis().unwrap_or(0);
        Self {
            partition: TopicPartition::new(message.topic(), message.partition()),
            offset: message.offset(),
            timestamp: Timestamp::from_micros(millis.saturating_mul(1_000)).unwrap_or_else(|_| Timestamp::now()),
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            headers: Headers::read(message),
        }
    }
}
