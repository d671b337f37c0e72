//! The topics on the broker: created from the topic table, and compared with it.

use std::collections::HashMap;
use std::time::Duration;

use contracts::Topic;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::kafka::Settings;

const TIMEOUT: Duration = Duration::from_secs(15);

/// The reason why topics could not be created, deleted or compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Kafka is unreachable at {brokers}")]
    Unreachable {
        brokers: String,
        #[source]
        source: KafkaError,
    },
    #[error("the topic {topic} was not created: {code}")]
    Refused { topic: String, code: RDKafkaErrorCode },
}

/// A difference between the topics on the broker and the topic table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    Missing {
        topic: String,
    },
    /// Never add partitions to fix this, because that moves keys to other partitions. More partitions require a new topic,
    /// after a drain.
    Partitions {
        topic: String,
        expected: i32,
        found: i32,
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { topic } => write!(f, "the topic {topic} is missing; `rollcall topics apply` creates it"),
            Self::Partitions { topic, expected, found } => {
                write!(f, "the topic {topic} has {found} partitions instead of {expected}")
            }
        }
    }
}

/// Creates the topics that are missing, with this replication factor. Existing topics are not changed.
///
/// Returns the names of the new topics.
///
/// # Errors
/// Returns an error if Kafka is unreachable, or if it refuses to create a topic.
pub async fn apply(settings: &Settings, topics: &[&Topic], replication: i32) -> Result<Vec<String>, Error> {
    let unreachable = |source| Error::Unreachable {
        brokers: settings.brokers.clone(),
        source,
    };
    let admin = admin(settings).await?;
    let names: Vec<_> = topics
        .iter()
        .map(|topic| topic.full_name(&settings.topic_prefix))
        .collect();
    let configs: Vec<_> = topics.iter().map(|topic| topic.config()).collect();
    let wanted: Vec<_> = topics
        .iter()
        .zip(&names)
        .zip(&configs)
        .map(|((topic, name), config)| {
            let mut new = NewTopic::new(name, topic.partitions, TopicReplication::Fixed(replication));
            for (key, value) in config {
                new = new.set(key, value);
            }
            new
        })
        .collect();
    let options = AdminOptions::new()
        .operation_timeout(Some(TIMEOUT))
        .request_timeout(Some(TIMEOUT));
    let mut created = Vec::new();
    for result in admin.create_topics(&wanted, &options).await.map_err(unreachable)? {
        match result {
            Ok(topic) => created.push(topic),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(Error::Refused { topic, code }),
        }
    }
    Ok(created)
}

/// Deletes topics. For tests, which have a separate prefix.
///
/// # Errors
/// Returns an error if Kafka is unreachable.
///
/// # Panics
/// Panics if `settings` has no topic prefix.
pub async fn delete(settings: &Settings, topics: &[&Topic]) -> Result<(), Error> {
    assert!(
        !settings.topic_prefix.is_empty(),
        "only topics with a prefix may be deleted"
    );
    let unreachable = |source| Error::Unreachable {
        brokers: settings.brokers.clone(),
        source,
    };
    let admin = admin(settings).await?;
    let names: Vec<_> = topics
        .iter()
        .map(|topic| topic.full_name(&settings.topic_prefix))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    admin
        .delete_topics(&names, &AdminOptions::new())
        .await
        .map_err(unreachable)?;
    Ok(())
}

async fn admin(settings: &Settings) -> Result<AdminClient<DefaultClientContext>, Error> {
    let connecting = settings.clone();
    let connected = tokio::task::spawn_blocking(move || connecting.connect(&connecting.client(), TIMEOUT));
    let admin = connected.await.unwrap_or(Err(KafkaError::Canceled));
    admin.map_err(|source| Error::Unreachable {
        brokers: settings.brokers.clone(),
        source,
    })
}

/// Compares the topics on the broker with the topic table.
///
/// # Errors
/// Returns an error if Kafka is unreachable.
pub async fn differences(settings: &Settings, topics: &[&'static Topic]) -> Result<Vec<Difference>, Error> {
    let settings = settings.clone();
    let topics = topics.to_vec();
    tokio::task::spawn_blocking(move || compare(&settings, &topics))
        .await
        .expect("comparing topics does not panic")
}

fn compare(settings: &Settings, topics: &[&Topic]) -> Result<Vec<Difference>, Error> {
    let unreachable = |source| Error::Unreachable {
        brokers: settings.brokers.clone(),
        source,
    };
    let client: BaseConsumer = settings.connect(&settings.client(), TIMEOUT).map_err(unreachable)?;
    let metadata = client.fetch_metadata(None, TIMEOUT).map_err(unreachable)?;
    let found: HashMap<_, _> = metadata
        .topics()
        .iter()
        .map(|topic| (topic.name(), topic.partitions().len() as i32))
        .collect();
    Ok(topics
        .iter()
        .filter_map(|topic| {
            let name = topic.full_name(&settings.topic_prefix);
            match found.get(name.as_str()) {
                None => Some(Difference::Missing { topic: name }),
                Some(count) if *count != topic.partitions => Some(Difference::Partitions {
                    topic: name,
                    expected: topic.partitions,
                    found: *count,
                }),
                Some(_) => None,
            }
        })
        .collect())
}
