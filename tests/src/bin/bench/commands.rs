//! P1: commands per second that one service makes durable: deduplicated, decided, journaled, appended to the outbox.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use contracts::{Actor, Codec, CreateEvent, CreateUser, Date, EventCommand, Message, Timestamp, UserCommand, topics};
use messaging::kafka::Settings;
use messaging::{Envelope, Lane, Messaging, Metrics, Record, TopicPartition};
use postgres::Postgres;
use rollcall::servers::Servers;
use rollcall::system::Database;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::naive;
use crate::report::{Row, Samples, today};

const WORKERS: usize = 4;
const BATCH: usize = 500;
const BATCHES: usize = 30;
const NAIVE_SECONDS: u32 = 4;

pub(crate) async fn measure(servers: &Servers, repeats: usize) -> Result<Row> {
    let mut measured = Samples::new("commands/s");
    let mut sign_ups = Samples::new("commands/s");
    let mut against = Samples::new("transactions/s");
    for repeat in 0..=repeats {
        let naive = {
            let database = Database::create(servers, "bench_naive").await?;
            let rate = naive::transactions_per_second(&database.url, NAIVE_SECONDS).await?;
            database.drop().await?;
            rate
        };
        let drafts = one_run(
            servers,
            "event",
            &event::MIGRATIONS,
            event::subscriptions(),
            &topics::EVENTS_COMMANDS,
            draft,
        )
        .await?;
        let users = user::subscriptions(user::store::UserStore::new([]));
        let signed_up = one_run(
            servers,
            "user",
            &user::MIGRATIONS,
            users,
            &topics::USERS_COMMANDS,
            sign_up,
        )
        .await?;
        // The first run of each side warms caches and the disk.
        if repeat > 0 {
            against.push(naive);
            measured.push(drafts);
            sign_ups.push(signed_up);
        }
        eprintln!("P1 repeat {repeat}: {drafts:.0} CreateEvent/s, {signed_up:.0} CreateUser/s, naive {naive:.0}/s");
    }
    let ratio = Row::ratio(&measured, &against);
    let sign_up_ratio = Row::ratio(&sign_ups, &against);
    Ok(Row {
        id: "P1".to_owned(),
        command: "P1".to_owned(),
        what: "commands made durable per second in one service".to_owned(),
        measured,
        against: Some(against),
        against_what: naive::WHAT.to_owned(),
        must: "4 x".to_owned(),
        aim: "8 x".to_owned(),
        result: format!("{ratio:.1} x"),
        met: Some(ratio >= 4.0),
        measured_on: today(),
        note: Some(format!(
            "The event service's pipeline reads from memory: {WORKERS} partitions, batches of {BATCH} CreateEvent. One command \
             writes one inbox row, one stream head, one domain event and two outbox rows (EventCreated and the reply). For \
             comparison, CreateUser at the user service reaches {sign_ups}, {sign_up_ratio:.1} x T4: it also claims an e-mail \
             address and a username, and writes and publishes a profile, nine rows in all. Both are limited by the CPU time \
             that Postgres needs for these rows, because Postgres shares the cores with the service."
        )),
    })
}

async fn one_run(
    servers: &Servers,
    service: &'static str,
    migrations: &sqlx::migrate::Migrator,
    subscriptions: messaging::Subscriptions<Postgres>,
    topic: &'static contracts::Topic,
    command: fn(&Codec, i32, i64) -> Result<Record>,
) -> Result<f64> {
    let database = Database::create(servers, "bench_commands").await?;
    let ledger = Postgres::connect(&database.url, WORKERS as u32).await?;
    ledger.migrate(migrations).await?;
    let settings = Settings::new(&servers.kafka);
    messaging::ledger::Maintenance::housekeeping(&ledger, settings.inbox_retention).await?;
    let metrics = Metrics::register(&prometheus::Registry::new())?;
    let codec = Codec::local();
    let connected = Messaging::with_codec(service, settings, ledger.clone(), metrics, codec.clone(), None);
    let mut runs = Vec::new();
    for partition in 0..WORKERS as i32 {
        let lane = connected.lane(&subscriptions, &[(topic, partition)]).await?;
        let batches: Vec<Vec<Record>> = (0..BATCHES)
            .map(|batch| {
                (0..BATCH)
                    .map(|n| command(&codec, partition, (batch * BATCH + n) as i64))
                    .collect::<Result<_>>()
            })
            .collect::<Result<_>>()?;
        runs.push((lane, batches));
    }
    let started = Instant::now();
    let tasks: Vec<_> = runs
        .into_iter()
        .map(|(lane, batches)| tokio::spawn(feed(lane, batches)))
        .collect();
    for task in tasks {
        task.await?.context("a lane stopped")?;
    }
    let took = started.elapsed().as_secs_f64();
    let accepted: i64 = sqlx::query_scalar("SELECT count(*) FROM domain_events")
        .fetch_one(ledger.pool())
        .await?;
    anyhow::ensure!(
        accepted as usize == WORKERS * BATCHES * BATCH,
        "only {accepted} commands were accepted"
    );
    ledger.pool().close().await;
    database.drop().await?;
    Ok(accepted as f64 / took)
}

async fn feed(mut lane: Lane<Postgres>, batches: Vec<Vec<Record>>) -> Option<()> {
    let stop = CancellationToken::new();
    for batch in batches {
        lane.process(batch, &stop).await.ok()?;
    }
    Some(())
}

/// Returns a sign-up with a unique e-mail address and username.
pub(crate) fn sign_up(codec: &Codec, partition: i32, offset: i64) -> Result<Record> {
    let key = Uuid::now_v7();
    let unique = key.simple().to_string();
    let body: UserCommand = CreateUser {
        email: format!("{unique}@rollcall.example"),
        // The last digits of a UUIDv7 are random.
        username: format!("u{}", &unique[8..]),
        full_name: "Ada Benchmark".to_owned(),
        date_of_birth: Date::from_ymd(1990, 5, 17).context("not a calendar date")?,
        time_zone: "Europe/Berlin".to_owned(),
    }
    .into();
    framed(codec, &body, key, None, &topics::USERS_COMMANDS, partition, offset)
}

/// Returns an ordinary draft.
pub(crate) fn draft(codec: &Codec, partition: i32, offset: i64) -> Result<Record> {
    let day = Duration::from_secs(24 * 60 * 60);
    let starts_at = Timestamp::now() + 30 * day;
    let body: EventCommand = CreateEvent {
        title: "A benchmark event".to_owned(),
        description: "Two days of talks and walks.".to_owned(),
        venue: "Pier 3".to_owned(),
        starts_at,
        ends_at: starts_at + day,
        time_zone: "Europe/Berlin".to_owned(),
        capacity: 100,
        registration_opens_at: None,
        registration_closes_at: starts_at,
        waiting_list: true,
    }
    .into();
    let organizer = Actor::User(Uuid::now_v7());
    framed(
        codec,
        &body,
        Uuid::now_v7(),
        Some(organizer),
        &topics::EVENTS_COMMANDS,
        partition,
        offset,
    )
}

/// Returns a command as a record of its topic.
fn framed<M: Message>(
    codec: &Codec,
    body: &M,
    key: Uuid,
    actor: Option<Actor>,
    topic: &contracts::Topic,
    partition: i32,
    offset: i64,
) -> Result<Record> {
    let id = Uuid::now_v7();
    let value = body.encode(codec)?;
    let envelope = Envelope {
        id,
        source: "/rollcall/gateway".to_owned(),
        type_name: body.type_name().to_owned(),
        time: Timestamp::now(),
        key,
        sequence: None,
        correlation_id: id,
        causation_id: None,
        actor,
        attempt: 0,
        due_at: None,
        expected_version: None,
        reply_to: Some(topics::GATEWAY_REPLIES.name.to_owned()),
        trace_parent: None,
        trace_state: None,
    };
    Ok(Record {
        partition: TopicPartition::new(topic.name, partition),
        offset,
        timestamp: envelope.time,
        key: Some(Bytes::from(key.to_string())),
        headers: envelope.to_headers(contracts::codec::schema_id(&value).ok()),
        value: Some(Bytes::from(value)),
    })
}
