//! P2: the whole pipeline on the same cores: command topic → commit → relay → topic → projection committed. P11: the same
//! with a poison key among the others.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use contracts::{Codec, EventEvent, topics};
use messaging::kafka::Settings;
use messaging::{Failure, Handler, Messaging, Metrics, Received, Subscriptions, Unit};
use postgres::{Postgres, store_error};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rollcall::servers::Servers;
use rollcall::system::Database;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::commands::draft;
use crate::naive;
use crate::report::{Row, Samples, today};

const COMMANDS: usize = 60_000;
/// One command in this number is followed by one of the poison key.
const POISON_EVERY: usize = 100;
const POISON: [u8; 64] = [0xff; 64];
const NAIVE_SECONDS: u32 = 4;
const WITHIN: Duration = Duration::from_secs(120);

pub(crate) async fn measure(servers: &Servers, repeats: usize) -> Result<Row> {
    let mut measured = Samples::new("commands/s");
    let mut against = Samples::new("transactions/s");
    for repeat in 0..=repeats {
        let naive = {
            let database = Database::create(servers, "bench_naive").await?;
            let rate = naive::transactions_per_second(&database.url, NAIVE_SECONDS).await?;
            database.drop().await?;
            rate
        };
        let ours = one_run(servers, false).await?;
        if repeat > 0 {
            against.push(naive);
            measured.push(ours);
        }
        eprintln!("P2 repeat {repeat}: {ours:.0} commands/s, naive {naive:.0}/s");
    }
    let ratio = Row::ratio(&measured, &against);
    Ok(Row {
        id: "P2".to_owned(),
        command: "P2".to_owned(),
        what: "whole pipeline: command topic → commit → relay → topic → projection committed".to_owned(),
        measured,
        against: Some(against),
        against_what: naive::WHAT.to_owned(),
        must: "1 x".to_owned(),
        aim: "2.5 x".to_owned(),
        result: format!("{ratio:.2} x"),
        met: Some(ratio >= 1.0),
        measured_on: today(),
        note: Some(format!(
            "{COMMANDS} CreateEvent are pending on events.commands. The event service and a projection of `events` into a second \
             database run in the benchmark's process, measured from the first projected row to the last. Audit and \
             notification are not running. Each command also has a reply, so the relay publishes two messages for each \
             projected one. Limited by the CPU time that Postgres, Kafka and the service share."
        )),
    })
}

/// P11: the throughput of other keys with a poison key.
pub(crate) async fn with_poison(servers: &Servers, repeats: usize) -> Result<Row> {
    let mut measured = Samples::new("commands/s");
    let mut against = Samples::new("commands/s");
    for repeat in 0..=repeats {
        let without = one_run(servers, false).await?;
        let with = one_run(servers, true).await?;
        if repeat > 0 {
            against.push(without);
            measured.push(with);
        }
        eprintln!("P11 repeat {repeat}: {with:.0} commands/s, without a poison key {without:.0}/s");
    }
    let ratio = Row::ratio(&measured, &against);
    Ok(Row {
        id: "P11".to_owned(),
        command: "P11".to_owned(),
        what: "other keys' throughput with one poison key".to_owned(),
        measured,
        against: Some(against),
        against_what: "the same without it".to_owned(),
        must: "0.97 x".to_owned(),
        aim: "0.99 x".to_owned(),
        result: format!("{ratio:.2} x"),
        met: Some(ratio >= 0.97),
        measured_on: today(),
        note: Some(format!(
            "As P2, with {} additional commands for one key, evenly distributed, whose values no decoder can read. Only the \
             projected rows of the other keys count.",
            COMMANDS / POISON_EVERY
        )),
    })
}

/// Inserts one row per event.
struct Projection;

impl Handler<Postgres> for Projection {
    type Message = EventEvent;

    async fn handle(&mut self, unit: &mut Unit<Postgres>, messages: &[&Received<EventEvent>]) -> Result<(), Failure> {
        sqlx::query("INSERT INTO projected (event_id) SELECT * FROM UNNEST($1::uuid[])")
            .bind(messages.iter().map(|message| message.envelope.key).collect::<Vec<_>>())
            .execute(&mut **unit.tx())
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

async fn one_run(servers: &Servers, poisoned: bool) -> Result<f64> {
    let mut settings = Settings::new(&servers.kafka);
    let run = Uuid::now_v7().simple().to_string();
    settings.topic_prefix = format!("bench-{}.", &run[run.len() - 10..]);
    messaging::topics::apply(&settings, topics::ALL, 1).await?;
    let codec = Codec::local();
    fill(&settings, &codec, poisoned)?;

    let service = Database::create(servers, "bench_event").await?;
    let reader = Database::create(servers, "bench_projection").await?;
    let events = Postgres::connect(&service.url, 8).await?;
    events.migrate(&event::MIGRATIONS).await?;
    let projected = Postgres::connect(&reader.url, 8).await?;
    projected.migrate(&sqlx::migrate::Migrator::DEFAULT).await?;
    sqlx::query("CREATE TABLE projected (event_id uuid PRIMARY KEY)")
        .execute(projected.pool())
        .await?;

    let stop = CancellationToken::new();
    let running = [
        start(
            "event",
            &settings,
            &codec,
            events.clone(),
            event::subscriptions(),
            &stop,
        )
        .await?,
        start(
            "projection",
            &settings,
            &codec,
            projected.clone(),
            Subscriptions::new().handle(|| Projection),
            &stop,
        )
        .await?,
    ];
    let rate = watch(&projected).await;
    stop.cancel();
    for task in running {
        task.await??;
    }
    events.pool().close().await;
    projected.pool().close().await;
    service.drop().await?;
    reader.drop().await?;
    messaging::topics::delete(&settings, topics::ALL).await?;
    rate
}

/// Runs relay and consumer of one service until `stop`.
pub(crate) async fn start(
    service: &'static str,
    settings: &Settings,
    codec: &Codec,
    ledger: Postgres,
    subscriptions: Subscriptions<Postgres>,
    stop: &CancellationToken,
) -> Result<tokio::task::JoinHandle<Result<()>>> {
    let metrics = Metrics::register(&prometheus::Registry::new())?;
    messaging::ledger::Maintenance::housekeeping(&ledger, settings.inbox_retention).await?;
    let connected = Messaging::with_codec(service, settings.clone(), ledger, metrics, codec.clone(), None);
    let (relay, consumer) = connected.unchecked(subscriptions, chassis::Health::new())?;
    let (inputs, outputs) = (stop.clone(), CancellationToken::new());
    Ok(tokio::spawn(async move {
        let relay = tokio::spawn(relay.run(outputs.clone()));
        consumer.run(inputs).await?;
        outputs.cancel();
        relay.await??;
        Ok(())
    }))
}

/// Returns the projected rows per second, from the first row to the last.
async fn watch(projected: &Postgres) -> Result<f64> {
    let started = Instant::now();
    let mut first: Option<(Instant, i64)> = None;
    loop {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM projected")
            .fetch_one(projected.pool())
            .await?;
        if count > 0 {
            let (since, from) = *first.get_or_insert((Instant::now(), count));
            if count >= COMMANDS as i64 {
                return Ok((count - from) as f64 / since.elapsed().as_secs_f64());
            }
        }
        if started.elapsed() > WITHIN {
            bail!("only {count} of {COMMANDS} rows were projected within {WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Produces the commands to their topic. With a poison key, one more command in a hundred is for this key and has a value
/// that no decoder can read.
fn fill(settings: &Settings, codec: &Codec, poisoned: bool) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> = settings
        .client()
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", "200000")
        .set("linger.ms", "20")
        .create()?;
    let topic = topics::EVENTS_COMMANDS.full_name(&settings.topic_prefix);
    let poison_key = Uuid::now_v7().to_string();
    for number in 0..COMMANDS {
        let command = draft(codec, 0, 0)?;
        let headers = command
            .headers
            .0
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                let value = match key.as_str() {
                    "reply-to" => format!("{}{value}", settings.topic_prefix),
                    _ => value.clone(),
                };
                headers.insert(Header {
                    key,
                    value: Some(&value),
                })
            });
        let key = command.key.context("a command has no key")?;
        let value = command.value.context("a command has no value")?;
        if poisoned && number % POISON_EVERY == 0 {
            let record = BaseRecord::to(&topic)
                .key(poison_key.as_bytes())
                .payload(&POISON[..])
                .headers(headers.clone());
            producer.send(record).map_err(|(error, _)| error)?;
        }
        let record = BaseRecord::to(&topic)
            .key(&key[..])
            .payload(&value[..])
            .headers(headers);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(())
}
