//! `rollcall topics`: the broker against the topic table.

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

const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make the topics that are missing; those that are there stay as they are
    Apply {
        #[command(flatten)]
        kafka: Kafka,
        /// Copies of each partition: 3 in production
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=i64::from(i16::MAX)))]
        replication: i32,
    },
    /// Compare the topics with the table: missing ones, partitions, configuration
    Diff {
        #[command(flatten)]
        kafka: Kafka,
    },
}

/// One way in which a topic is not as the table says.
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
    kafka.answers()?;
    let mut made = match messaging::topics::apply(&kafka.settings(), topics::ALL, replication).await {
        Ok(made) => made,
        Err(error @ TopicsError::Refused { .. }) => {
            let advice = format!("Kafka refuses; has it {replication} brokers, and may this client make topics?");
            return Err(Error::unavailable(advice, error));
        }
        Err(error @ TopicsError::Unreachable { .. }) => return Err(kafka.unreachable(error)),
    };
    made.sort();
    let rows = settled(kafka, &made).await?;
    let answer = serde_json::json!({ "made": made, "differences": rows });
    output.answer(&answer, || {
        let there = topics::ALL.len() - made.len();
        let mut lines = vec![format!("{} made, {there} were there", counted(made.len(), "topic"))];
        lines.extend(made.iter().map(|topic| format!("  {topic}")));
        lines.extend(rows.iter().map(ToString::to_string));
        lines.join("\n")
    });
    Ok(outcome(&rows))
}

/// What is different once the broker shows the new topics, which takes it some milliseconds.
async fn settled(kafka: &Kafka, made: &[String]) -> Result<Vec<Row>, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let rows = compare(kafka).await?;
        let is_new = |row: &Row| matches!(row, Row::Missing { topic } if made.contains(topic));
        if !rows.iter().any(is_new) || Instant::now() > deadline {
            return Ok(rows);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn diff(kafka: &Kafka, output: Output) -> Result<Outcome, Error> {
    kafka.answers()?;
    let rows = compare(kafka).await?;
    output.answer(&serde_json::json!({ "differences": rows }), || match rows.as_slice() {
        [] => format!("all {} topics are as the table says", topics::ALL.len()),
        rows => rows.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    });
    Ok(outcome(&rows))
}

fn outcome(rows: &[Row]) -> Outcome {
    match rows {
        [] => Outcome::Yes,
        _ => Outcome::No,
    }
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
    let there: Vec<_> = topics::ALL
        .iter()
        .map(|topic| (kafka.topic(topic), topic.config()))
        .filter(|(name, _)| !missing(name))
        .collect();
    let found = configurations(kafka, &there.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>()).await?;
    for (topic, expected) in there {
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

/// What the broker has, by topic and name.
async fn configurations(kafka: &Kafka, topics: &[&str]) -> Result<HashMap<(String, String), String>, Error> {
    if topics.is_empty() {
        return Ok(HashMap::new()); // librdkafka takes no empty question
    }
    let admin: AdminClient<DefaultClientContext> = kafka.connect(&kafka.settings().client())?;
    let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let described = admin
        .describe_configs(&resources, &options)
        .await
        .map_err(|error| kafka.unreachable(error))?;
    let mut found = HashMap::new();
    for (topic, resource) in topics.iter().zip(described) {
        let resource = resource
            .map_err(|code| Error::without_source(format!("the configuration of {topic} can't be read: {code}")))?;
        for entry in resource.entries {
            found.insert(((*topic).to_owned(), entry.name), entry.value.unwrap_or_default());
        }
    }
    Ok(found)
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { topic } => write!(f, "{topic} is missing; `rollcall topics apply` makes it"),
            Self::Partitions { topic, expected, found } => write!(
                f,
                "{topic} has {found} partitions instead of {expected}; more would move its keys, so it has to be \
                 drained and made anew"
            ),
            Self::Config {
                topic,
                name,
                expected,
                found,
            } => {
                write!(
                    f,
                    "{topic} has {name}={found} instead of {expected}; alter it with Kafka's own tools"
                )
            }
        }
    }
}

/// The topic with this name.
///
/// # Errors
/// Returns a usage error that lists all topics if there is none.
pub(crate) fn named(name: &str) -> Result<&'static Topic, Error> {
    topics::by_name(name).ok_or_else(|| {
        let names: Vec<_> = topics::ALL.iter().map(|topic| topic.name).collect();
        Error::Usage(format!("there is no topic {name}, only {}", names.join(", ")))
    })
}
