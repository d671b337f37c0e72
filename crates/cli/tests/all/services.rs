//! Plays services: takes what is on `ops.commands`, and answers it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
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

use crate::rollcall::{Rollcall, codec, envelope, producer, say, send, status};

/// What a service says to a command.
pub(crate) enum Say {
    Reply(Reply),
    /// A reply with the correlation id of another operation.
    ToAnother(Uuid, Reply),
    /// Anything, under the type of a reply.
    Raw(&'static str, Option<Bytes>),
}

/// Services that answer until this is dropped.
pub(crate) struct Services {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    taken: Arc<Mutex<Vec<(Envelope, OpsCommand)>>>,
}

impl Services {
    /// They are up, and `answer` to whatever they are asked.
    pub(crate) async fn play(
        rollcall: &Rollcall,
        names: &[&str],
        answer: impl Fn(&Envelope, &OpsCommand) -> Vec<Say> + Send + 'static,
    ) -> Self {
        for name in names {
            rollcall.report(&status(name, Timestamp::now())).await;
        }
        let (settings, stop) = (rollcall.settings.clone(), Arc::new(AtomicBool::new(false)));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (until, into) = (Arc::clone(&stop), Arc::clone(&taken));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let (consumer, producer) = (commands(&settings), producer(&settings));
            let deadline = Instant::now() + Duration::from_secs(60);
            while !until.load(Ordering::Relaxed) && Instant::now() < deadline {
                // A topic that was just made has no leader yet: librdkafka tries again by itself.
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) else {
                    continue;
                };
                let (envelope, command) = runtime.block_on(read(&record(&message)));
                let says = answer(&envelope, &command);
                into.lock()
                    .expect("no test panics with it")
                    .push((envelope.clone(), command.clone()));
                for what in says {
                    runtime.block_on(reply(&producer, &settings.topic_prefix, &envelope, &command, what));
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
            taken,
        }
    }

    /// The commands so far.
    pub(crate) fn taken(&self) -> Vec<(Envelope, OpsCommand)> {
        self.taken.lock().expect("no test panics with it").clone()
    }

    /// The one command that there was.
    #[track_caller]
    pub(crate) fn took(&self) -> OpsCommand {
        let [(_, command)] = self.taken().try_into().expect("one command");
        command
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("it is dropped once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "a played service panicked");
    }
}

pub(crate) fn accepted(command: &Envelope, result: &Value) -> Vec<Say> {
    vec![Say::Reply(accepted_with(command, &result.to_string()))]
}

pub(crate) fn accepted_with(command: &Envelope, result: &str) -> Reply {
    let accepted = CommandAccepted {
        command_id: command.id,
        version: 0,
        effects: Vec::new(),
        result: Some(result.to_owned()),
    };
    accepted.into()
}

pub(crate) fn rejected(command: &Envelope, code: &str, detail: &str) -> Vec<Say> {
    let rejected = CommandRejected {
        command_id: command.id,
        code: code.to_owned(),
        detail: detail.to_owned(),
        errors: Vec::new(),
    };
    vec![Say::Reply(rejected.into())]
}

async fn read(record: &Record) -> (Envelope, OpsCommand) {
    let envelope = Envelope::of(record).expect("a whole envelope");
    let value = record.value.as_deref().expect("a value");
    let command = OpsCommand::decode(&codec().await, &envelope.type_name, value);
    (envelope, command.expect("decodes").expect("a command"))
}

async fn reply(producer: &FutureProducer, prefix: &str, to: &Envelope, command: &OpsCommand, what: Say) {
    let of = |operation: Uuid| envelope(command.service(), operation, operation);
    match what {
        Say::Reply(reply) => {
            say(producer, prefix, of(to.correlation_id), reply).await;
        }
        Say::ToAnother(operation, reply) => {
            say(producer, prefix, of(operation), reply).await;
        }
        Say::Raw(type_name, value) => {
            let mut envelope = of(to.correlation_id);
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
