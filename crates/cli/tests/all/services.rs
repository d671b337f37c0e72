//! Simulated services, which reply to the commands on `ops.commands`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use contracts::{CommandAccepted, CommandRejected, Message as _, OpsCommand, Reply, Timestamp, topics};
use messaging::kafka::Settings;
use messaging::{Envelope, Headers, Record, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::FutureProducer;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use uuid::Uuid;

use crate::rollcall::{Rollcall, codec, envelope, producer, publish, send, status};

/// Record that a simulated service publishes in response to a command.
pub(crate) enum Response {
    Reply(Reply),
    /// A reply with the correlation id of another operation.
    ToOtherOperation(Uuid, Reply),
    /// Any value, with the type of a reply.
    Raw(&'static str, Option<Bytes>),
}

/// Simulated services, which run until this is dropped.
pub(crate) struct Services {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    received: Arc<Mutex<Vec<(Envelope, OpsCommand)>>>,
}

impl Services {
    /// Reports the services `names` as ready and publishes what `respond` returns for each command.
    pub(crate) async fn simulate(
        rollcall: &Rollcall,
        names: &[&str],
        respond: impl Fn(&Envelope, &OpsCommand) -> Vec<Response> + Send + 'static,
    ) -> Self {
        for name in names {
            rollcall.report(&status(name, Timestamp::now())).await;
        }
        let (settings, stop) = (rollcall.settings.clone(), Arc::new(AtomicBool::new(false)));
        let received = Arc::new(Mutex::new(Vec::new()));
        let (stopped, log) = (Arc::clone(&stop), Arc::clone(&received));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let (consumer, producer) = (commands(&settings), producer(&settings));
            let deadline = Instant::now() + Duration::from_secs(60);
            while !stopped.load(Ordering::Relaxed) && Instant::now() < deadline {
                // A new topic has no leader yet, and librdkafka retries by itself.
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) else {
                    continue;
                };
                let (envelope, command) = runtime.block_on(read(&record(&message)));
                let responses = respond(&envelope, &command);
                log.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((envelope.clone(), command.clone()));
                for response in responses {
                    runtime.block_on(publish_response(
                        &producer,
                        &settings.topic_prefix,
                        &envelope,
                        &command,
                        response,
                    ));
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
            received,
        }
    }

    /// Returns the commands that were received so far.
    pub(crate) fn received(&self) -> Vec<(Envelope, OpsCommand)> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the only command that was received.
    ///
    /// # Panics
    /// Panics if not exactly one command was received.
    #[track_caller]
    pub(crate) fn received_one(&self) -> OpsCommand {
        let [(_, command)] = self.received().try_into().expect("one command");
        command
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("the thread is joined only here").join();
        assert!(
            ended.is_ok() || std::thread::panicking(),
            "a simulated service panicked"
        );
    }
}

pub(crate) fn accepted(request: &Envelope, result: &Value) -> Vec<Response> {
    vec![Response::Reply(accepted_with(request, &result.to_string()))]
}

pub(crate) fn accepted_with(request: &Envelope, result: &str) -> Reply {
    let accepted = CommandAccepted {
        command_id: request.id,
        version: 0,
        effects: Vec::new(),
        result: Some(result.to_owned()),
    };
    accepted.into()
}

pub(crate) fn rejected(request: &Envelope, code: &str, detail: &str) -> Vec<Response> {
    let rejected = CommandRejected {
        command_id: request.id,
        code: code.to_owned(),
        detail: detail.to_owned(),
        errors: Vec::new(),
    };
    vec![Response::Reply(rejected.into())]
}

async fn read(record: &Record) -> (Envelope, OpsCommand) {
    let envelope = Envelope::of(record).expect("a complete envelope");
    let value = record.value.as_deref().expect("a value");
    let command = OpsCommand::decode(&codec().await, &envelope.type_name, value);
    (envelope, command.expect("decodes").expect("a command"))
}

async fn publish_response(
    producer: &FutureProducer,
    prefix: &str,
    request: &Envelope,
    command: &OpsCommand,
    response: Response,
) {
    let envelope_for = |operation: Uuid| envelope(command.service(), operation, operation);
    match response {
        Response::Reply(reply) => {
            publish(producer, prefix, envelope_for(request.correlation_id), reply).await;
        }
        Response::ToOtherOperation(operation, reply) => {
            publish(producer, prefix, envelope_for(operation), reply).await;
        }
        Response::Raw(type_name, value) => {
            let mut envelope = envelope_for(request.correlation_id);
            envelope.type_name = type_name.to_owned();
            let topic = topics::GATEWAY_REPLIES.full_name(prefix);
            send(producer, &topic, envelope.key, value, envelope.to_headers(None)).await;
        }
    }
}

fn commands(settings: &Settings) -> BaseConsumer {
    let topic = topics::OPS_COMMANDS.full_name(&settings.topic_prefix);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", "cli-tests")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "20")
        .create()
        .expect("a consumer");
    let mut start = TopicPartitionList::new();
    start
        .add_partition_offset(&topic, 0, Offset::Beginning)
        .expect("an offset");
    consumer.assign(&start).expect("assigned");
    consumer
}

fn record(message: &rdkafka::message::BorrowedMessage<'_>) -> Record {
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).expect("UTF-8");
    let headers = message.headers().expect("headers").iter();
    Record {
        partition: TopicPartition::new(message.topic(), message.partition()),
        offset: message.offset(),
        timestamp: Timestamp::EPOCH,
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: Headers(
            headers
                .map(|header| (header.key.to_owned(), text(header.value)))
                .collect(),
        ),
    }
}
