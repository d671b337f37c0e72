//! Publishes ops commands on `ops.commands` and collects the replies of the services.

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

/// Timeout of requests that a service handles immediately.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(200);

/// Addresses for ops commands, and the timeout for their replies.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OpsArguments {
    /// Seconds to wait for replies [default: 15, or 1800 for long-running work]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    #[command(flatten)]
    pub(crate) sources: Sources,
}

impl OpsArguments {
    /// Returns these arguments with `timeout` as the default, for long-running work.
    pub(crate) fn with_default_timeout(&self, timeout: Duration) -> Self {
        let mut arguments = self.clone();
        arguments.timeout.get_or_insert(timeout.as_secs());
        arguments
    }

    fn timeout(&self) -> Duration {
        self.timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs)
    }
}

/// Ops commands that belong together: they share a trace and a correlation id, which identifies their replies.
pub(crate) struct OpsSession {
    pub(crate) correlation_id: Uuid,
    trace: String,
    arguments: OpsArguments,
    schemas: Schemas,
    commands: Writer,
    replies: Reader,
}

/// Reply of one service to an ops command.
#[derive(Debug, Serialize)]
pub(crate) struct OpsReply {
    pub(crate) service: String,
    pub(crate) outcome: ReplyOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<FieldError>,
    /// The service's result, unchanged.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) result: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReplyOutcome {
    Accepted,
    Rejected,
    Failed,
    /// This version cannot decode the reply.
    Unreadable,
    /// No reply arrived before the timeout.
    NoReply,
}

impl OpsSession {
    pub(crate) fn open(arguments: &OpsArguments) -> Result<Self, Error> {
        Ok(Self {
            correlation_id: Uuid::now_v7(),
            trace: Uuid::now_v7().simple().to_string(),
            arguments: arguments.clone(),
            schemas: Schemas::of(&arguments.sources.registry),
            commands: arguments.sources.kafka.writer()?,
            // Opened before any command is published, so no reply can be missed.
            replies: Reader::from_end(&arguments.sources.kafka, &topics::GATEWAY_REPLIES)?,
        })
    }

    /// Sends a request to one service and waits for its reply.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if no reply arrives before the timeout, or if this version cannot decode it.
    pub(crate) async fn request<M: Message>(&mut self, service: &str, command: M) -> Result<OpsReply, Error> {
        let mut replies = self.request_all(vec![(service.to_owned(), command)]).await?;
        let reply = replies.pop().expect("one request has one reply");
        reply.require_readable(self.arguments.timeout())
    }

    /// Sends one request to each of several services. Returns the replies in the same order.
    pub(crate) async fn request_all<M: Message>(&mut self, requests: Vec<(String, M)>) -> Result<Vec<OpsReply>, Error> {
        let mut pending = HashMap::new();
        let mut replies = Vec::with_capacity(requests.len());
        for (index, (service, command)) in requests.into_iter().enumerate() {
            pending.insert(self.publish(&command).await?, index);
            replies.push(OpsReply::missing(service));
        }
        let mut progress = Progress::new(format!("waiting for {}", service_names(&replies)));
        let deadline = Instant::now() + self.arguments.timeout();
        while !pending.is_empty() && Instant::now() < deadline {
            let Some(record) = self.next_reply(self.correlation_id, deadline, &mut progress) else {
                continue;
            };
            self.assign(&record, &mut pending, &mut replies).await?;
        }
        Ok(replies)
    }

    /// Waits for the reply of `service` to a command of another operation, which an earlier request has started.
    ///
    /// The session must have been opened before that request was sent, because it would miss earlier replies.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub(crate) async fn reply_to_operation(&mut self, operation_id: Uuid, service: &str) -> Result<OpsReply, Error> {
        let mut progress = Progress::new(format!("waiting for {service}"));
        let deadline = Instant::now() + self.arguments.timeout();
        let mut reply = OpsReply::missing(service.to_owned());
        while reply.outcome == ReplyOutcome::NoReply && Instant::now() < deadline {
            let Some(record) = self.next_reply(operation_id, deadline, &mut progress) else {
                continue;
            };
            match self.decode(&record).await? {
                Some(decoded) => reply.fill(decoded),
                None => reply.mark_unreadable(&record),
            }
        }
        reply.require_readable(self.arguments.timeout())
    }

    /// Returns the next record with this correlation id, or `None` if another record or none arrived within a tick.
    fn next_reply(&mut self, correlation_id: Uuid, deadline: Instant, progress: &mut Progress) -> Option<Record> {
        progress.tick();
        let record = self.replies.next(deadline.min(Instant::now() + TICK))?;
        (record.headers.get(header::CORRELATION_ID) == Some(correlation_id.to_string().as_str())).then_some(record)
    }

    /// Decodes a reply. Returns `None` if this version cannot decode it.
    async fn decode(&self, record: &Record) -> Result<Option<Reply>, Error> {
        let type_name = record.headers.get(header::TYPE).unwrap_or_default();
        let value = record.value.as_deref().unwrap_or_default();
        self.schemas.decode::<Reply>(type_name, value).await
    }

    /// Prints the reply to one request, as JSON or as text. `text` formats the result of an accepted request.
    pub(crate) fn print(&self, output: Output, reply: &OpsReply, text: impl FnOnce(&Value) -> String) {
        #[derive(Serialize)]
        struct Printed<'a> {
            #[serde(rename = "operation")]
            correlation_id: Uuid,
            /// Trace id of the service's work, if it exports traces.
            trace: &'a str,
            #[serde(flatten)]
            reply: &'a OpsReply,
        }
        let printed = Printed {
            correlation_id: self.correlation_id,
            trace: &self.trace,
            reply,
        };
        output.print(&printed, || {
            if reply.is_accepted() {
                text(&reply.result)
            } else {
                reply.describe_failure()
            }
        });
    }

    /// Stores a reply at the index of its request. Ignores duplicates, because their request is no longer pending.
    async fn assign(
        &self,
        record: &Record,
        pending: &mut HashMap<Uuid, usize>,
        replies: &mut [OpsReply],
    ) -> Result<(), Error> {
        match self.decode(record).await? {
            Some(reply) => {
                if let Some(index) = pending.remove(&command_id(&reply)) {
                    replies[index].fill(reply);
                }
            }
            // The command id is in the unreadable value. The header with the sender's name identifies the request.
            None => {
                let source = record.headers.get(header::SOURCE).unwrap_or_default();
                let service = source.rsplit('/').next().unwrap_or_default();
                let request = pending.iter().find(|(_, index)| replies[**index].service == service);
                if let Some((command, index)) = request.map(|(command, index)| (*command, *index)) {
                    pending.remove(&command);
                    replies[index].mark_unreadable(record);
                }
            }
        }
        Ok(())
    }

    /// Publishes a command and returns its id.
    async fn publish<M: Message>(&self, command: &M) -> Result<Uuid, Error> {
        let kafka = &self.arguments.sources.kafka;
        let value = self.schemas.encode(command).await?;
        let envelope = Envelope {
            id: Uuid::now_v7(),
            source: "/rollcall/cli".to_owned(),
            type_name: command.type_name().to_owned(),
            time: Timestamp::now(),
            key: self.correlation_id,
            sequence: None,
            correlation_id: self.correlation_id,
            causation_id: None,
            actor: Some(Actor::service("cli")),
            attempt: 0,
            due_at: None,
            expected_version: None,
            reply_to: Some(kafka.topic(&topics::GATEWAY_REPLIES)),
            // No exporter sends this parent span: the process has no spans, and the services' spans share the trace.
            trace_parent: Some(format!(
                "00-{}-{:016x}-01",
                self.trace,
                self.correlation_id.as_u64_pair().1
            )),
            trace_state: None,
        };
        let headers = envelope.to_headers(contracts::codec::schema_id(&value).ok());
        let key = self.correlation_id.to_string();
        let topic = kafka.topic(M::TOPIC);
        self.commands.write(&topic, &key, &value, &headers).await?;
        Ok(envelope.id)
    }
}

impl OpsReply {
    fn missing(service: String) -> Self {
        Self {
            service,
            outcome: ReplyOutcome::NoReply,
            code: None,
            detail: None,
            errors: Vec::new(),
            result: Value::Null,
        }
    }

    fn fill(&mut self, reply: Reply) {
        match reply {
            Reply::CommandAccepted(accepted) => {
                self.outcome = ReplyOutcome::Accepted;
                let result = accepted.result.unwrap_or_default();
                // A result that is not JSON is shown unchanged.
                self.result = if result.is_empty() {
                    Value::Null
                } else {
                    serde_json::from_str(&result).unwrap_or(Value::String(result))
                };
            }
            Reply::CommandRejected(rejected) => {
                self.outcome = ReplyOutcome::Rejected;
                (self.code, self.detail) = (Some(rejected.code), Some(rejected.detail));
                self.errors = rejected.errors;
            }
            Reply::CommandFailed(failed) => {
                self.outcome = ReplyOutcome::Failed;
                (self.code, self.detail) = (Some(failed.code), Some(failed.detail));
            }
        }
    }

    fn mark_unreadable(&mut self, record: &Record) {
        self.outcome = ReplyOutcome::Unreadable;
        self.detail = Some(record.headers.get(header::TYPE).unwrap_or_default().to_owned());
    }

    /// Turns a missing or unreadable reply into an error.
    fn require_readable(self, timeout: Duration) -> Result<Self, Error> {
        let (service, seconds) = (&self.service, timeout.as_secs());
        let message = match self.outcome {
            ReplyOutcome::Accepted | ReplyOutcome::Rejected | ReplyOutcome::Failed => return Ok(self),
            ReplyOutcome::NoReply => format!(
                "{service} did not reply within {seconds} s; it will still process the request. Check \
                 `rollcall status`, then repeat the command: repeating it is safe"
            ),
            ReplyOutcome::Unreadable => format!(
                "{service} replied with a {} that this version cannot read; use the version of rollcall that matches \
                 the services",
                self.detail.as_deref().unwrap_or_default()
            ),
        };
        Err(Error::without_source(message))
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.outcome == ReplyOutcome::Accepted
    }

    pub(crate) fn exit_outcome(&self) -> Outcome {
        Outcome::positive_if(self.is_accepted())
    }

    /// Describes why the request was not accepted.
    pub(crate) fn describe_failure(&self) -> String {
        let Self { service, code, .. } = self;
        let code = code.as_deref().unwrap_or("no code");
        let verb = match self.outcome {
            ReplyOutcome::Accepted => "accepted the request",
            ReplyOutcome::Rejected => "rejected the request",
            ReplyOutcome::Failed => "failed to process the request",
            ReplyOutcome::Unreadable => "sent a reply that this version cannot read",
            ReplyOutcome::NoReply => return format!("{service} did not reply"),
        };
        let mut text = format!(
            "{service} {verb}: {} ({code})",
            self.detail.as_deref().unwrap_or("no reason given")
        );
        for FieldError { field, code, message } in &self.errors {
            text.push_str(&format!("\n  {field}: {message} ({code})"));
        }
        text
    }
}

/// Sends an ops command to the service that it names and prints the reply. `text` formats an accepted result.
pub(crate) async fn run_command(
    arguments: &OpsArguments,
    command: impl Into<OpsCommand>,
    output: Output,
    text: impl FnOnce(&Value) -> String,
) -> Result<Outcome, Error> {
    let command = command.into();
    let service = command.service().to_owned();
    require_live_service(arguments, &service).await?;
    let mut session = OpsSession::open(arguments)?;
    let reply = session.request(&service, command).await?;
    session.print(output, &reply, text);
    Ok(reply.exit_outcome())
}

/// Returns a sentence, followed by the service's result if it has one.
pub(crate) fn with_result(sentence: &str, result: &Value) -> String {
    match result {
        Value::Null => sentence.to_owned(),
        result => format!("{sentence}\n{}", plain(result)),
    }
}

/// Fails if no process of the service is running, because a request to a misspelt service would only time out.
pub(crate) async fn require_live_service(arguments: &OpsArguments, service: &str) -> Result<(), Error> {
    let live = live_services(arguments).await?;
    if live.iter().any(|name| name == service) {
        return Ok(());
    }
    let names = if live.is_empty() {
        "none".to_owned()
    } else {
        live.join(", ")
    };
    Err(Error::without_source(format!(
        "no process of the service {service} is running; running services: {names}"
    )))
}

/// Returns the names of all services with a live process, sorted.
pub(crate) async fn live_services(arguments: &OpsArguments) -> Result<Vec<String>, Error> {
    let processes = Processes::read(&arguments.sources).await?;
    let now = Timestamp::now();
    let live = processes.all().into_iter().filter(|status| is_live(status, now));
    let mut names: Vec<_> = live.map(|status| status.service.clone()).collect();
    names.dedup();
    Ok(names)
}

fn command_id(reply: &Reply) -> Uuid {
    match reply {
        Reply::CommandAccepted(accepted) => accepted.command_id,
        Reply::CommandRejected(rejected) => rejected.command_id,
        Reply::CommandFailed(failed) => failed.command_id,
    }
}

fn service_names(replies: &[OpsReply]) -> String {
    let names: Vec<_> = replies.iter().map(|reply| reply.service.as_str()).collect();
    names.join(", ")
}
