//! P3 and P4: the time from the commit until a consumer can read the message, at half load and at one message per second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use contracts::{Codec, UserCreated, UserEvent, topics};
use messaging::kafka::Settings;
use messaging::{Cause, Messaging, Metrics, Outgoing, Unit};
use postgres::Postgres;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use rollcall::servers::Servers;
use rollcall::system::Database;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::report::{Row, Samples, today};

/// Description of the baseline.
pub(crate) const K99: &str = "K99: raw rdkafka produce (acks=all) → consume, p99 at that rate";

/// Half of the rate that P2 reached on this machine.
const RATE: u32 = 3_000;
const TICK: Duration = Duration::from_millis(5);
/// The first second is slow on both sides, and is not counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// P3: at half load.
pub(crate) async fn at_half_load(servers: &Servers, repeats: usize) -> Result<Row> {
    let (measured, against) = measure(servers, repeats, "P3", RATE).await?;
    let over = Samples::difference(&measured, &against).median();
    Ok(Row {
        id: "P3".to_owned(),
        command: "P3".to_owned(),
        what: "commit → consumable, p99, at half load".to_owned(),
        measured,
        against: Some(against),
        against_what: K99.to_owned(),
        must: "K99 + 5 ms".to_owned(),
        aim: "1.5 x K99".to_owned(),
        result: format!("K99 {over:+.1} ms"),
        met: Some(over <= 5.0),
        measured_on: today(),
        note: Some(format!(
            "{RATE} messages per second for {} s, in transactions of {} messages every {} ms, measured from the return of \
             the commit until a plain consumer has read the record. The raw side produces the same number of messages at the \
             same ticks. Limited by the CPU time that the generator, Postgres and Kafka share.",
            seconds_at(RATE),
            batch_of(RATE),
            TICK.as_millis()
        )),
    })
}

/// P4: at one message per second, which finds timers that a higher rate hides.
pub(crate) async fn at_rest(servers: &Servers, repeats: usize) -> Result<Row> {
    let (measured, against) = measure(servers, repeats, "P4", 1).await?;
    let over = Samples::difference(&measured, &against).median();
    Ok(Row {
        id: "P4".to_owned(),
        command: "P4".to_owned(),
        what: "commit → consumable, p99, at one message per second".to_owned(),
        measured,
        against: Some(against),
        against_what: K99.to_owned(),
        must: "K99 + 5 ms".to_owned(),
        aim: "K99 + 2 ms".to_owned(),
        result: format!("K99 {over:+.1} ms"),
        met: Some(over <= 5.0),
        measured_on: today(),
        note: Some(format!(
            "As P3, for {} s at one message per second. With so few messages, the 99th percentile of one repeat is nearly the \
             slowest message.",
            seconds_at(1)
        )),
    })
}

async fn measure(servers: &Servers, repeats: usize, id: &str, rate: u32) -> Result<(Samples, Samples)> {
    let mut measured = Samples::new("ms");
    let mut against = Samples::new("ms");
    for repeat in 0..=repeats {
        let raw = raw_p99(servers, rate).await?;
        let ours = relay_p99(servers, rate).await?;
        // The first run of each side warms caches.
        if repeat > 0 {
            against.push(raw);
            measured.push(ours);
        }
        eprintln!("{id} repeat {repeat}: {ours:.1} ms, raw {raw:.1} ms");
    }
    Ok((measured, against))
}

/// Returns the duration of a load; longer at a low rate, so that there are enough messages.
fn seconds_at(rate: u32) -> u32 {
    if rate < 10 { 30 } else { 5 }
}

fn batch_of(rate: u32) -> u32 {
    (rate * TICK.as_millis() as u32 / 1_000).max(1)
}

/// The send time of each message that was not yet received.
type Sent = Arc<Mutex<HashMap<Uuid, Instant>>>;

/// Returns the 99th percentile of raw produce → consume at a rate, in milliseconds.
pub(crate) async fn raw_p99(servers: &Servers, rate: u32) -> Result<f64> {
    let settings = prefixed(servers);
    messaging::topics::apply(&settings, &[&topics::USERS], 1).await?;
    let topic = topics::USERS.full_name(&settings.topic_prefix);
    let producer: ThreadedProducer<DefaultProducerContext> = settings
        .client()
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "0")
        .create()?;
    let sent = Sent::default();
    let reader = Reader::start(&settings, &topic, Arc::clone(&sent))?;
    let payload = [7_u8; 230];
    ticks(rate, async |count| {
        for _ in 0..count {
            let key = Uuid::now_v7();
            sent.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key, Instant::now());
            producer
                .send(BaseRecord::to(&topic).key(&key.to_string()).payload(&payload[..]))
                .map_err(|(error, _)| error)?;
        }
        Ok(())
    })
    .await?;
    producer.flush(Duration::from_secs(10))?;
    let p99 = reader.finish().await?;
    messaging::topics::delete(&settings, &[&topics::USERS]).await?;
    Ok(p99)
}

async fn relay_p99(servers: &Servers, rate: u32) -> Result<f64> {
    let settings = prefixed(servers);
    messaging::topics::apply(&settings, &[&topics::USERS], 1).await?;
    let topic = topics::USERS.full_name(&settings.topic_prefix);
    let database = Database::create(servers, "bench_relay").await?;
    let ledger = Postgres::connect(&database.url, 8).await?;
    ledger.migrate(&sqlx::migrate::Migrator::DEFAULT).await?;
    let metrics = Metrics::register(&prometheus::Registry::new())?;
    let connected = Messaging::with_codec("user", settings.clone(), ledger.clone(), metrics, Codec::local(), None);
    let publisher = connected.publisher().clone();
    let stop = CancellationToken::new();
    let relay = tokio::spawn(connected.into_relay()?.run(stop.clone()));
    let sent = Sent::default();
    let reader = Reader::start(&settings, &topic, Arc::clone(&sent))?;
    ticks(rate, async |count| {
        let mut unit = Unit::begin(&ledger, &publisher).await?;
        let mut keys = Vec::new();
        for _ in 0..count {
            let key = Uuid::now_v7();
            let cause = Cause::origin(key, None, Default::default());
            let created = UserCreated {
                created_at: contracts::Timestamp::now(),
            };
            unit.publish(&cause, Outgoing::<UserEvent>::new(key, created).sequence(1))?;
            keys.push(key);
        }
        // The time is recorded before the commit, and updated after it, because the relay may be faster than this task.
        let before = Instant::now();
        sent.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(keys.iter().map(|key| (*key, before)));
        unit.commit().await?;
        let committed = Instant::now();
        let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if let Some(time) = sent.get_mut(&key) {
                *time = committed;
            }
        }
        Ok(())
    })
    .await?;
    let p99 = reader.finish().await?;
    stop.cancel();
    relay.await??;
    ledger.pool().close().await;
    database.drop().await?;
    messaging::topics::delete(&settings, &[&topics::USERS]).await?;
    Ok(p99)
}

fn prefixed(servers: &Servers) -> Settings {
    let mut settings = Settings::new(&servers.kafka);
    let run = Uuid::now_v7().simple().to_string();
    settings.topic_prefix = format!("bench-{}.", &run[run.len() - 10..]);
    settings
}

/// Calls `send` at regular intervals with the number of messages that are due.
async fn ticks(rate: u32, mut send: impl AsyncFnMut(u32) -> Result<()>) -> Result<()> {
    let batch = batch_of(rate);
    let pace = Duration::from_secs_f64(f64::from(batch) / f64::from(rate));
    let mut ticks = tokio::time::interval(pace);
    let total = rate * (seconds_at(rate) + WARM_UP.as_secs() as u32) / batch;
    for _ in 0..total {
        ticks.tick().await;
        send(batch).await?;
    }
    Ok(())
}

/// Reads the records of a topic on a separate thread and records the latency of each.
struct Reader {
    thread: std::thread::JoinHandle<Result<Vec<Duration>>>,
    stop: CancellationToken,
}

impl Reader {
    fn start(settings: &Settings, topic: &str, sent: Sent) -> Result<Self> {
        let consumer: BaseConsumer = settings
            .client()
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "100")
            .create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..topics::USERS.partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let started = Instant::now();
            let mut took = Vec::new();
            let mut quiet = Instant::now();
            // Until every message was received, or none was received for 5 s.
            while !(stopped.is_cancelled()
                && (sent.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
                    || quiet.elapsed() > Duration::from_secs(5)))
            {
                let Some(message) = consumer.poll(Duration::from_millis(20)) else {
                    continue;
                };
                let message = message?;
                let now = Instant::now();
                quiet = now;
                let key = message
                    .key()
                    .and_then(|key| std::str::from_utf8(key).ok())
                    .context("a record has no key")?;
                let time = sent
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&key.parse()?);
                if let Some(time) = time
                    && started.elapsed() > WARM_UP
                {
                    took.push(now.saturating_duration_since(time));
                }
            }
            let lost = sent.lock().unwrap_or_else(PoisonError::into_inner).len();
            ensure!(lost == 0, "{lost} messages were not received");
            Ok(took)
        });
        Ok(Self { thread, stop })
    }

    async fn finish(self) -> Result<f64> {
        self.stop.cancel();
        let thread = self.thread;
        let took = tokio::task::spawn_blocking(move || thread.join())
            .await?
            .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        Ok(p99(took))
    }
}

/// Returns the 99th percentile in milliseconds.
pub(crate) fn p99(mut took: Vec<Duration>) -> f64 {
    took.sort_unstable();
    let index = (took.len() * 99 / 100).min(took.len().saturating_sub(1));
    took.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}
