//! `rollcall parked`: keys whose messages wait for an operator.

use std::time::{Duration, Instant};

use contracts::{Actor, Message as _, OpsCommand, Record as _, ReleaseKey, Reply, Timestamp, topics};
use messaging::{Envelope, header};
use serde::Serialize;
use uuid::Uuid;

use crate::kafka::Reader;
use crate::output::{Output, counted};
use crate::processes::{Processes, Sources, is_live};
use crate::schemas::Schemas;
use crate::{Error, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Let one service apply what it has parked for a key, in order
    Release(Release),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Release {
    /// The service that parked the messages, e.g. gateway
    service: String,
    /// Their topic, without prefix, e.g. users
    topic: String,
    /// The aggregate's id
    key: Uuid,
    /// Seconds to wait for the service's reply
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    timeout: u64,
    #[command(flatten)]
    sources: Sources,
}

/// What became of it.
#[derive(Debug, Serialize)]
struct Answer {
    operation: Uuid,
    /// `accepted`, `rejected` or `failed`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(flatten)]
    released: Option<Released>,
    /// Of what the service did, where it exports traces.
    trace: String,
}

/// The service's account, in the reply.
#[derive(Debug, Serialize, serde::Deserialize)]
struct Released {
    applied: usize,
    /// Where it stopped again, if it did.
    poisoned_at: Option<i64>,
}

pub(crate) async fn run(command: Command, output: Output) -> Result<Outcome, Error> {
    match command {
        Command::Release(release) => release_key(&release, output).await,
    }
}

async fn release_key(release: &Release, output: Output) -> Result<Outcome, Error> {
    let Some(topic) = topics::by_name(&release.topic) else {
        let names: Vec<_> = topics::ALL.iter().map(|topic| topic.name).collect();
        return Err(Error::Usage(format!(
            "there is no topic {}, only {}",
            release.topic,
            names.join(", ")
        )));
    };
    let schemas = Schemas::writing::<ReleaseKey>(&release.sources.registry).await?;
    somebody_listens(release).await?;

    let kafka = &release.sources.kafka;
    // Before the command is sent, so that the reply can't be missed.
    let mut replies = Reader::from_end(kafka, &topics::GATEWAY_REPLIES)?;
    let operation = Uuid::now_v7();
    let trace = Uuid::now_v7().simple().to_string();
    let command = OpsCommand::from(ReleaseKey {
        service: release.service.clone(),
        topic: topic.name.to_owned(),
        parked_key: release.key,
    });
    let value = command
        .encode(schemas.codec())
        .map_err(|error| Error::unavailable("the command can't be encoded", error))?;
    let envelope = Envelope {
        id: Uuid::now_v7(),
        source: "/rollcall/cli".to_owned(),
        type_name: ReleaseKey::NAME.to_owned(),
        time: Timestamp::now(),
        key: operation,
        sequence: None,
        correlation_id: operation,
        causation_id: None,
        actor: Some(Actor::service("cli")),
        attempt: 0,
        due_at: None,
        expected_version: None,
        reply_to: Some(kafka.topic(&topics::GATEWAY_REPLIES)),
        // A parent that nobody exports: this process has no spans of its own, and the service's share a trace.
        trace_parent: Some(format!("00-{trace}-{:016x}-01", operation.as_u64_pair().1)),
        trace_state: None,
    };
    let headers = envelope.to_headers(contracts::codec::schema_id(&value).ok());
    kafka
        .send(
            &kafka.topic(&topics::OPS_COMMANDS),
            &operation.to_string(),
            &value,
            &headers,
        )
        .await?;

    let deadline = Instant::now() + Duration::from_secs(release.timeout);
    while let Some(record) = replies.next(deadline) {
        if record.headers.get(header::CORRELATION_ID) != Some(operation.to_string().as_str()) {
            continue;
        }
        let type_name = record.headers.get(header::TYPE).unwrap_or_default();
        let value = record.value.unwrap_or_default();
        let Some(reply) = schemas.decode::<Reply>(type_name, &value).await? else {
            let message = format!(
                "{} answered with a {type_name} that this version can't read",
                release.service
            );
            return Err(Error::without_source(message));
        };
        let answer = answer(operation, trace, reply);
        output.answer(&answer, || text(release, &answer));
        return Ok(outcome(&answer));
    }
    Err(Error::without_source(format!(
        "{} did not answer within {} s; it does what it was asked as soon as it can. See `rollcall status`, and ask \
         again: a key that is not parked any more is no harm",
        release.service, release.timeout
    )))
}

/// A misspelt service would be waited for in vain.
async fn somebody_listens(release: &Release) -> Result<(), Error> {
    let processes = Processes::read(&release.sources).await?;
    let now = Timestamp::now();
    let mut live: Vec<_> = processes
        .all()
        .into_iter()
        .filter(|status| is_live(status, now))
        .collect();
    live.dedup_by_key(|status| &status.service);
    let names: Vec<_> = live.iter().map(|status| status.service.as_str()).collect();
    if names.contains(&release.service.as_str()) {
        return Ok(());
    }
    Err(Error::without_source(format!(
        "no process of the service {} is running; running are: {}",
        release.service,
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    )))
}

fn answer(operation: Uuid, trace: String, reply: Reply) -> Answer {
    let (outcome, code, detail, released) = match reply {
        Reply::CommandAccepted(accepted) => {
            let released = accepted.result.and_then(|result| serde_json::from_str(&result).ok());
            ("accepted", None, None, released)
        }
        Reply::CommandRejected(rejected) => ("rejected", Some(rejected.code), Some(rejected.detail), None),
        Reply::CommandFailed(failed) => ("failed", Some(failed.code), Some(failed.detail), None),
    };
    Answer {
        operation,
        outcome,
        code,
        detail,
        released,
        trace,
    }
}

fn outcome(answer: &Answer) -> Outcome {
    match (answer.outcome, &answer.released) {
        (
            "accepted",
            Some(Released {
                poisoned_at: Some(_), ..
            }),
        ) => Outcome::No,
        ("accepted", _) => Outcome::Yes,
        _ => Outcome::No,
    }
}

fn text(release: &Release, answer: &Answer) -> String {
    let Release {
        service, topic, key, ..
    } = release;
    match &answer.released {
        Some(Released {
            applied,
            poisoned_at: None,
        }) => {
            format!(
                "{service} applied {} of {topic} for {key}",
                counted(*applied, "parked message")
            )
        }
        Some(Released {
            applied,
            poisoned_at: Some(sequence),
        }) => format!(
            "{service} applied {} of {topic} for {key}, and stopped at sequence {sequence}, \
             which can't be applied either: the key stays parked from there",
            counted(*applied, "parked message")
        ),
        None => {
            let reason = answer.detail.as_deref().unwrap_or("without a word");
            format!(
                "{service} {} it: {reason} ({})",
                answer.outcome,
                answer.code.as_deref().unwrap_or("no code")
            )
        }
    }
}
