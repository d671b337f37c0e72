//! `rollcall topics`: creates the topics of the topic table, or compares the table with the broker.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use contracts::{Topic, topics};
use messaging::topics::{Difference, Error as TopicsError};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use serde::Serialize;

use crate::kafka::Kafka;
use crate::output::{Output, counted};
use crate::{Error, Outcome};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Create the missing topics; existing ones are unchanged
    Apply {
        #[command(flatten)]
        kafka: Kafka,
        /// Replication factor; 3 in production
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=i64::from(i16::MAX)))]
        replication: i32,
    },
    /// Compare the topics with the topic table: missing topics, partitions, configuration
    Diff {
        #[command(flatten)]
        kafka: Kafka,
    },
}

/// A difference between a topic and the topic table.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "difference", rename_all = "kebab-case")]
enum Row {
    Missing {
        topic: String,
    },
    Partitions {
        topic: String,
        expected: i32,
        found: i32,
    },
    Config {
        topic: String,
        name: String,
        expected: String,
        found: String,
    },
}

pub(crate) async fn run(command: Command, output: Output) -> Result<Outcome, Error> {
    match command {
        Command::Apply { kafka, replication } => apply(&kafka, replication, output).await,
        Command::Diff { kafka } => diff(&kafka, output).await,
    }
}

async fn apply(kafka: &Kafka, replication: i32, output: Output) -> Result<Outcome, Error> {
    kafka.check_reachable()?;
    let mut created = match messaging::topics::apply(&kafka.settings(), topics::ALL, replication).await {
        Ok(created) => created,
        Err(error @ TopicsError::Refused { .. }) => {
            let advice = format!(
                "Kafka rejected the request; check that it has at least {replication} brokers, and that this client \
                 may create topics"
            );
            return Err(Error::unavailable(advice, error));
        }
        Err(error @ TopicsError::Unreachable { .. }) => return Err(kafka.unreachable(error)),
    };
    created.sort();
    let rows = settled(kafka, &created).await?;
    let result = serde_json::json!({ "created": created, "differences": rows });
    output.print(&result, || {
        let existing = topics::ALL.len() - created.len();
        let mut lines = vec![format!(
            "{} created, {existing} existed",
            counted(created.len(), "topic")
        )];
        lines.extend(created.iter().map(|topic| format!("  {topic}")));
        lines.extend(rows.iter().map(ToString::to_string));
        lines.join("\n")
    });
    Ok(outcome(&rows))
}

/// Returns the differences after the broker has made the new topics visible, which takes a few milliseconds.
async fn settled(kafka: &Kafka, created: &[String]) -> Result<Vec<Row>, Error> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    loop {
        let rows = compare(kafka).await?;
        let is_new = |row: &Row| matches!(row, Row::Missing { topic } if created.contains(topic));
        if !rows.iter().any(is_new) || Instant::now() > deadline {
            return Ok(rows);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn diff(kafka: &Kafka, output: Output) -> Result<Outcome, Error> {
    kafka.check_reachable()?;
    let rows = compare(kafka).await?;
    output.print(&serde_json::json!({ "differences": rows }), || match rows.as_slice() {
        [] => format!("all {} topics match the topic table", topics::ALL.len()),
        rows => rows.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    });
    Ok(outcome(&rows))
}

fn outcome(rows: &[Row]) -> Outcome {
    Outcome::positive_if(rows.is_empty())
}

async fn compare(kafka: &Kafka) -> Result<Vec<Row>, Error> {
    let differences = messaging::topics::differences(&kafka.settings(), topics::ALL).await;
    let mut rows: Vec<_> = differences
        .map_err(|error| kafka.unreachable(error))?
        .into_iter()
        .map(|difference| match difference {
            Difference::Missing { topic } => Row::Missing { topic },
            Difference::Partitions { topic, expected, found } => Row::Partitions { topic, expected, found },
        })
        .collect();
    let missing = |name: &str| {
        rows.iter()
            .any(|row| matches!(row, Row::Missing { topic } if topic == name))
    };
    let existing: Vec<_> = topics::ALL
        .iter()
        .map(|topic| (kafka.topic(topic), topic.config()))
        .filter(|(name, _)| !missing(name))
        .collect();
    let names: Vec<_> = existing.iter().map(|(name, _)| name.as_str()).collect();
    let found = configurations(kafka, &names).await?;
    for (topic, expected) in existing {
        for (name, expected) in expected {
            let found = found
                .get(&(topic.clone(), name.to_owned()))
                .cloned()
                .unwrap_or_default();
            if found != expected {
                rows.push(Row::Config {
                    topic: topic.clone(),
                    name: name.to_owned(),
                    expected,
                    found,
                });
            }
        }
    }
    Ok(rows)
}

/// Returns the broker's configuration values, by topic and name.
async fn configurations(kafka: &Kafka, topics: &[&str]) -> Result<HashMap<(String, String), String>, Error> {
    if topics.is_empty() {
        return Ok(HashMap::new()); // librdkafka rejects an empty request
    }
    let admin: AdminClient<DefaultClientContext> = kafka.connect(&kafka.settings().client())?;
    let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let described = admin
        .describe_configs(&resources, &options)
        .await
        .map_err(|error| kafka.unreachable(error))?;
    let mut found = HashMap::new();
    for (topic, resource) in topics.iter().zip(described) {
        let resource = resource
            .map_err(|code| Error::without_source(format!("cannot read the configuration of {topic}: {code}")))?;
        for entry in resource.entries {
            found.insert(((*topic).to_owned(), entry.name), entry.value.unwrap_or_default());
        }
    }
    Ok(found)
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { topic } => write!(f, "{topic} is missing; `rollcall topics apply` creates it"),
            Self::Partitions { topic, expected, found } => write!(
                f,
                "{topic} has {found} partitions instead of {expected}; drain and recreate it, because a changed number \
                 of partitions moves keys"
            ),
            Self::Config {
                topic,
                name,
                expected,
                found,
            } => write!(
                f,
                "{topic} has {name}={found} instead of {expected}; change it with Kafka's tools"
            ),
        }
    }
}

/// Returns the topic with this name.
///
/// # Errors
/// Returns a usage error that lists all topics if no topic has this name.
pub(crate) fn named(name: &str) -> Result<&'static Topic, Error> {
    topics::by_name(name).ok_or_else(|| {
        let names: Vec<_> = topics::ALL.iter().map(|topic| topic.name).collect();
        Error::Usage(format!("unknown topic {name}; known topics: {}", names.join(", ")))
    })
}
