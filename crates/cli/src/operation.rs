//! Says commands to services, and gathers what they answer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use contracts::{Actor, FieldError, Message, OpsCommand, Reply, Timestamp, topics};
use messaging::{Envelope, Record, header};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::kafka::{Reader, Writer};
use crate::output::{Output, plain};
use crate::processes::{Processes, Sources, is_live};
use crate::progress::Progress;
use crate::schemas::Schemas;
use crate::{Error, Outcome};

/// What answers at once, does so within this.
const SOON: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(200);

/// Where services are asked, and how long they are waited for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Asking {
    /// Seconds to wait for replies [default: 15, more where the work is long]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    #[command(flatten)]
    pub(crate) sources: Sources,
}

impl Asking {
    /// For work that takes this long, if nobody says otherwise.
    pub(crate) fn patient(&self, patience: Duration) -> Self {
        let mut asking = self.clone();
        asking.timeout.get_or_insert(patience.as_secs());
        asking
    }

    fn patience(&self) -> Duration {
        self.timeout.map_or(SOON, Duration::from_secs)
    }
}

/// Commands that belong together: they share an operation's id, by which their replies are known, and a trace.
pub(crate) struct Operation {
    pub(crate) id: Uuid,
    trace: String,
    asking: Asking,
    schemas: Schemas,
    commands: Writer,
    replies: Reader,
}

/// What one service answered.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    pub(crate) service: String,
    pub(crate) outcome: Said,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<FieldError>,
    /// As the service says it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) result: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Said {
    Accepted,
    Rejected,
    Failed,
    /// It answered with what this version can't read.
    Unreadable,
    /// It did not answer in time.
    Silent,
}

impl Operation {
    pub(crate) fn begin(asking: &Asking) -> Result<Self, Error> {
        Ok(Self {
            id: Uuid::now_v7(),
            trace: Uuid::now_v7().simple().to_string(),
            asking: asking.clone(),
            schemas: Schemas::of(&asking.sources.registry),
            commands: asking.sources.kafka.writer()?,
            // Before anything is said, so that no reply can be missed.
            replies: Reader::from_end(&asking.sources.kafka, &topics::GATEWAY_REPLIES)?,
        })
    }

    /// Asks one service. That it is silent, or can't be understood, is an error.
    pub(crate) async fn ask<M: Message>(&mut self, service: &str, command: M) -> Result<Answer, Error> {
        let mut answers = self.ask_all(vec![(service.to_owned(), command)]).await?;
        let answer = answers.pop().expect("one question has one answer");
        answer.or_trouble(self.asking.patience())
    }

    /// Asks several services at once, each its own; the answers are in the same order.
    pub(crate) async fn ask_all<M: Message>(&mut self, questions: Vec<(String, M)>) -> Result<Vec<Answer>, Error> {
        let mut waiting = HashMap::new();
        let mut answers = Vec::with_capacity(questions.len());
        for (index, (service, command)) in questions.into_iter().enumerate() {
            waiting.insert(self.say(&command).await?, index);
            answers.push(Answer::silent(service));
        }
        let mut progress = Progress::of(format!("waiting for {}", names(&answers)));
        let deadline = Instant::now() + self.asking.patience();
        while !waiting.is_empty() && Instant::now() < deadline {
            progress.goes_on();
            let Some(record) = self.replies.next(deadline.min(Instant::now() + TICK)) else {
                continue;
            };
            if record.headers.get(header::CORRELATION_ID) != Some(self.id.to_string().as_str()) {
                continue;
            }
            self.take(&record, &mut waiting, &mut answers).await?;
        }
        Ok(answers)
    }

    /// Waits for the answer to another operation, which this one is to lead to: `service` gives it. To be asked of an
    /// operation that was begun before, so that the answer can't be missed.
    pub(crate) async fn answer_to(&mut self, operation: Uuid, service: &str) -> Result<Answer, Error> {
        let mut progress = Progress::of(format!("waiting for {service}"));
        let deadline = Instant::now() + self.asking.patience();
        let mut answer = Answer::silent(service.to_owned());
        while answer.outcome == Said::Silent && Instant::now() < deadline {
            progress.goes_on();
            let Some(record) = self.replies.next(deadline.min(Instant::now() + TICK)) else {
                continue;
            };
            if record.headers.get(header::CORRELATION_ID) != Some(operation.to_string().as_str()) {
                continue;
            }
            let type_name = record.headers.get(header::TYPE).unwrap_or_default();
            let value = record.value.as_deref().unwrap_or_default();
            match self.schemas.decode::<Reply>(type_name, value).await? {
                Some(reply) => answer.said(reply),
                None => {
                    answer.outcome = Said::Unreadable;
                    answer.detail = Some(type_name.to_owned());
                }
            }
        }
        answer.or_trouble(self.asking.patience())
    }

    /// The answer to one question, as JSON or as text.
    pub(crate) fn show(&self, output: Output, answer: &Answer, text: impl FnOnce(&Value) -> String) {
        #[derive(Serialize)]
        struct Shown<'a> {
            operation: Uuid,
            /// Of what the service did, where it exports traces.
            trace: &'a str,
            #[serde(flatten)]
            answer: &'a Answer,
        }
        let shown = Shown {
            operation: self.id,
            trace: &self.trace,
            answer,
        };
        output.answer(&shown, || match answer.is_accepted() {
            true => text(&answer.result),
            false => answer.refusal(),
        });
    }

    /// Puts a reply where its question is. A copy finds nobody waiting.
    async fn take(
        &self,
        record: &Record,
        waiting: &mut HashMap<Uuid, usize>,
        answers: &mut [Answer],
    ) -> Result<(), Error> {
        let type_name = record.headers.get(header::TYPE).unwrap_or_default();
        let value = record.value.as_deref().unwrap_or_default();
        match self.schemas.decode::<Reply>(type_name, value).await? {
            Some(reply) => {
                if let Some(index) = waiting.remove(&command_of(&reply)) {
                    answers[index].said(reply);
                }
            }
            // Whose it is stands in what can't be read; the sender's name is in front.
            None => {
                let source = record.headers.get(header::SOURCE).unwrap_or_default();
                let service = source.rsplit('/').next().unwrap_or_default();
                let whose = waiting.iter().find(|(_, index)| answers[**index].service == service);
                if let Some((command, index)) = whose.map(|(command, index)| (*command, *index)) {
                    waiting.remove(&command);
                    answers[index].outcome = Said::Unreadable;
                    answers[index].detail = Some(type_name.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Sends a command, and answers its id.
    async fn say<M: Message>(&self, command: &M) -> Result<Uuid, Error> {
        let kafka = &self.asking.sources.kafka;
        let value = self.schemas.encode(command).await?;
        let envelope = Envelope {
            id: Uuid::now_v7(),
            source: "/rollcall/cli".to_owned(),
            type_name: command.type_name().to_owned(),
            time: Timestamp::now(),
            key: self.id,
            sequence: None,
            correlation_id: self.id,
            causation_id: None,
            actor: Some(Actor::service("cli")),
            attempt: 0,
            due_at: None,
            expected_version: None,
            reply_to: Some(kafka.topic(&topics::GATEWAY_REPLIES)),
            // A parent that nobody exports: this process has no spans of its own, and the services' share a trace.
            trace_parent: Some(format!("00-{}-{:016x}-01", self.trace, self.id.as_u64_pair().1)),
            trace_state: None,
        };
        let headers = envelope.to_headers(contracts::codec::schema_id(&value).ok());
        let key = self.id.to_string();
        let topic = kafka.topic(M::TOPIC);
        self.commands.write(&topic, &key, &value, &headers).await?;
        Ok(envelope.id)
    }
}

impl Answer {
    fn silent(service: String) -> Self {
        Self {
            service,
            outcome: Said::Silent,
            code: None,
            detail: None,
            errors: Vec::new(),
            result: Value::Null,
        }
    }

    fn said(&mut self, reply: Reply) {
        match reply {
            Reply::CommandAccepted(accepted) => {
                self.outcome = Said::Accepted;
                let result = accepted.result.unwrap_or_default();
                // What is no JSON is shown as it is.
                self.result = match result.is_empty() {
                    true => Value::Null,
                    false => serde_json::from_str(&result).unwrap_or(Value::String(result)),
                };
            }
            Reply::CommandRejected(rejected) => {
                self.outcome = Said::Rejected;
                (self.code, self.detail) = (Some(rejected.code), Some(rejected.detail));
                self.errors = rejected.errors;
            }
            Reply::CommandFailed(failed) => {
                self.outcome = Said::Failed;
                (self.code, self.detail) = (Some(failed.code), Some(failed.detail));
            }
        }
    }

    /// That there is no answer, or none that can be read, is an error.
    fn or_trouble(self, patience: Duration) -> Result<Self, Error> {
        let (service, seconds) = (&self.service, patience.as_secs());
        let trouble = match self.outcome {
            Said::Accepted | Said::Rejected | Said::Failed => return Ok(self),
            Said::Silent => format!(
                "{service} did not answer within {seconds} s; it does what it was asked as soon as it can. See \
                 `rollcall status`, and ask again: what is done already is done once"
            ),
            Said::Unreadable => format!(
                "{service} answered with a {} that this version can't read",
                self.detail.as_deref().unwrap_or_default()
            ),
        };
        Err(Error::without_source(trouble))
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.outcome == Said::Accepted
    }

    pub(crate) fn said_yes(&self) -> Outcome {
        match self.is_accepted() {
            true => Outcome::Yes,
            false => Outcome::No,
        }
    }

    /// Why it was not accepted, for people.
    pub(crate) fn refusal(&self) -> String {
        let Self { service, code, .. } = self;
        let code = code.as_deref().unwrap_or("no code");
        let did = match self.outcome {
            Said::Accepted => "accepted it",
            Said::Rejected => "rejected it",
            Said::Failed => "failed at it",
            Said::Unreadable => "can't be understood",
            Said::Silent => return format!("{service} does not answer"),
        };
        let mut text = format!(
            "{service} {did}: {} ({code})",
            self.detail.as_deref().unwrap_or("without a word")
        );
        for FieldError { field, code, message } in &self.errors {
            text.push_str(&format!("\n  {field}: {message} ({code})"));
        }
        text
    }
}

/// Asks the one service that a command is for, and shows the answer; `text` says for people what was accepted.
pub(crate) async fn tell(
    asking: &Asking,
    command: impl Into<OpsCommand>,
    output: Output,
    text: impl FnOnce(&Value) -> String,
) -> Result<Outcome, Error> {
    let command = command.into();
    let service = command.service().to_owned();
    somebody_listens(asking, &service).await?;
    let mut operation = Operation::begin(asking)?;
    let answer = operation.ask(&service, command).await?;
    operation.show(output, &answer, text);
    Ok(answer.said_yes())
}

/// What a service said, and below it whatever came with that.
pub(crate) fn with_result(sentence: &str, result: &Value) -> String {
    match result {
        Value::Null => sentence.to_owned(),
        result => format!("{sentence}\n{}", plain(result)),
    }
}

/// A misspelt service would be waited for in vain.
pub(crate) async fn somebody_listens(asking: &Asking, service: &str) -> Result<(), Error> {
    let live = live_services(asking).await?;
    if live.iter().any(|name| name == service) {
        return Ok(());
    }
    let names = if live.is_empty() {
        "none".to_owned()
    } else {
        live.join(", ")
    };
    Err(Error::without_source(format!(
        "no process of the service {service} is running; running are: {names}"
    )))
}

/// The services of which a process reports, by name.
pub(crate) async fn live_services(asking: &Asking) -> Result<Vec<String>, Error> {
    let processes = Processes::read(&asking.sources).await?;
    let now = Timestamp::now();
    let live = processes.all().into_iter().filter(|status| is_live(status, now));
    let mut names: Vec<_> = live.map(|status| status.service.clone()).collect();
    names.dedup();
    Ok(names)
}

fn command_of(reply: &Reply) -> Uuid {
    match reply {
        Reply::CommandAccepted(accepted) => accepted.command_id,
        Reply::CommandRejected(rejected) => rejected.command_id,
        Reply::CommandFailed(failed) => failed.command_id,
    }
}

fn names(answers: &[Answer]) -> String {
    let names: Vec<_> = answers.iter().map(|answer| answer.service.as_str()).collect();
    names.join(", ")
}
