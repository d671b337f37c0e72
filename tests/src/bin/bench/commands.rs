//! P1: commands made durable a second in one service: deduplicated, decided, journaled, appended to the outbox.

use std::time::Instant;

use anyhow::{Context, Result};
use bytes::Bytes;
use contracts::{Codec, CreateUser, Date, Timestamp, UserCommand, topics};
use messaging::kafka::Settings;
use messaging::{Connected, Envelope, Identity, Metrics, PartitionWorker, Record, TopicPartition};
use postgres::Postgres;
use rollcall::servers::Servers;
use rollcall::system::Database;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::naive;
use crate::report::{Row, Samples};

const WORKERS: usize = 4;
const BATCH: usize = 500;
const BATCHES: usize = 30;
const NAIVE_SECONDS: u32 = 4;

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
        let ours = one_run(servers).await?;
        // The first of each warms caches and the disk.
        if repeat > 0 {
            against.push(naive);
            measured.push(ours);
        }
        eprintln!("P1 repeat {repeat}: {ours:.0} commands/s, naive {naive:.0}/s");
    }
    let ratio = Row::ratio(&measured, &against);
    Ok(Row {
        id: "P1",
        what: "commands made durable per second in one service",
        measured,
        against,
        against_what: "T4, pgbench: BEGIN, 2 INSERTs, COMMIT at 32 clients",
        must: format!("4 x; it is {ratio:.1} x"),
        met: ratio >= 4.0,
        note: format!(
            "The user service's pipeline, fed from memory: {WORKERS} partitions, batches of {BATCH} CreateUser. One command is \
             one inbox row, one stream head, one domain event, an e-mail, a username and a profile, and three outbox rows \
             (UserCreated, UserProfile, the reply): nine rows where the naive transaction writes two. Limited by Postgres's \
             CPU for these rows, which shares the two cores with the service."
        ),
    })
}

async fn one_run(servers: &Servers) -> Result<f64> {
    let database = Database::create(servers, "bench_user").await?;
    let ledger = Postgres::connect(&database.url, WORKERS as u32).await?;
    ledger.migrate(&user::MIGRATIONS).await?;
    let settings = Settings::new(&servers.kafka);
    messaging::Ledger::housekeeping(&ledger, settings.inbox_retention).await?;
    let identity = Identity {
        service: "user",
        instance: Uuid::now_v7(),
        version: "bench",
    };
    let metrics = Metrics::register(&prometheus::Registry::new())?;
    let codec = Codec::local();
    let connected = Connected::with_codec(identity, settings, ledger.clone(), metrics, codec.clone(), None);
    let subscriptions = user::subscriptions(user::store::UserStore::new([]));
    let mut runs = Vec::new();
    for partition in 0..WORKERS {
        let worker = connected
            .worker(&subscriptions, &topics::USERS_COMMANDS, partition as i32)
            .await?;
        let batches: Vec<Vec<Record>> = (0..BATCHES)
            .map(|batch| {
                (0..BATCH)
                    .map(|n| sign_up(&codec, partition as i32, (batch * BATCH + n) as i64))
                    .collect::<Result<_>>()
            })
            .collect::<Result<_>>()?;
        runs.push((worker, batches));
    }
    let begun = Instant::now();
    let tasks: Vec<_> = runs
        .into_iter()
        .map(|(worker, batches)| tokio::spawn(feed(worker, batches)))
        .collect();
    for task in tasks {
        task.await?.context("a worker stopped")?;
    }
    let took = begun.elapsed().as_secs_f64();
    let accepted: i64 = sqlx::query_scalar("SELECT count(*) FROM domain_events")
        .fetch_one(ledger.pool())
        .await?;
    anyhow::ensure!(
        accepted as usize == WORKERS * BATCHES * BATCH,
        "{accepted} commands were accepted"
    );
    ledger.pool().close().await;
    database.drop().await?;
    Ok(accepted as f64 / took)
}

async fn feed(mut worker: Box<dyn PartitionWorker>, batches: Vec<Vec<Record>>) -> Option<()> {
    let stop = CancellationToken::new();
    for batch in batches {
        worker.process(batch, &stop).await.ok()?;
    }
    Some(())
}

/// A command as it stands in the log.
pub(crate) fn sign_up(codec: &Codec, partition: i32, offset: i64) -> Result<Record> {
    let key = Uuid::now_v7();
    let id = Uuid::now_v7();
    let unique = key.simple().to_string();
    let body: UserCommand = CreateUser {
        email: format!("{unique}@rollcall.example"),
        // The last digits of a UUIDv7 are random.
        username: format!("u{}", &unique[8..]),
        full_name: "Ada of the bench".to_owned(),
        date_of_birth: Date::from_ymd(1990, 5, 17).context("a date of the calendar")?,
        time_zone: "Europe/Berlin".to_owned(),
    }
    .into();
    let value = contracts::Message::encode(&body, codec)?;
    let envelope = Envelope {
        id,
        source: "/rollcall/gateway".to_owned(),
        type_name: contracts::Message::type_name(&body).to_owned(),
        time: Timestamp::now(),
        key,
        sequence: None,
        correlation_id: id,
        causation_id: None,
        actor: None,
        attempt: 0,
        due_at: None,
        expected_version: None,
        reply_to: Some(topics::GATEWAY_REPLIES.name.to_owned()),
        trace_parent: None,
        trace_state: None,
    };
    Ok(Record {
        partition: TopicPartition::new(topics::USERS_COMMANDS.name, partition),
        offset,
        timestamp: envelope.time,
        key: Some(Bytes::from(key.to_string())),
        headers: envelope.to_headers(contracts::codec::schema_id(&value).ok()),
        value: Some(Bytes::from(value)),
    })
}
