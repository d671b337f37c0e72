//! Kills every service with SIGKILL, repeatedly, while journeys run.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rollcall::journey::{Journey, MAILS, Outcome};
use rollcall::log_folder;
use rollcall::mails;
use rollcall::servers::Servers;
use rollcall::system::{Options, SERVICES, System};
use rollcall::topics::{self, DomainEvent};
use sqlx::PgPool;

/// Number of concurrent journeys. A completed journey is followed by another one, until every service was killed in
/// each of `ROUNDS` rounds.
const CONCURRENT: usize = 4;
const ROUNDS: usize = 2;

/// Maximum number of e-mails that a killed process was sending: `SENDERS` in each of two lanes.
const SENDING: usize = 8;

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn killing_any_service_loses_and_doubles_nothing() -> Result<()> {
    let options = Options::isolated(log_folder("crashes"));
    let mut system = System::start(Servers::from_env()?, options, |_| {}).await?;
    let gateway = system.gateways()[0].clone();
    let secrets = system.secrets().clone();

    let (rounds, running) = (Cell::new(0), Cell::new(true));
    let runs = (0..CONCURRENT).map(|_| async {
        let mut outcomes = Vec::new();
        while outcomes.is_empty() || rounds.get() < ROUNDS {
            let outcome = Journey::new(&gateway, |_| {}).patient().play_as(&secrets).await;
            outcomes.push(outcome.context("a journey failed")?);
        }
        anyhow::Ok(outcomes)
    });
    let journeys = async {
        let outcomes = futures::future::try_join_all(runs).await;
        running.set(false);
        outcomes
    };
    // Each service is ready again before the next one is killed.
    let kills = async {
        while running.get() {
            for service in SERVICES {
                system.kill(service).await?;
                system.restart(service).await.context("a service did not restart")?;
            }
            rounds.set(rounds.get() + 1);
        }
        anyhow::Ok(())
    };
    let (outcomes, ()) = tokio::try_join!(journeys, kills)?;

    check_operations(&system).await?;
    let mut repeated = 0;
    for outcome in outcomes.iter().flatten() {
        repeated += check_mails(&system, outcome).await?;
        Journey::new(&gateway, |_| {}).audit(outcome).await?;
    }
    // SMTP has no transactions: an e-mail that the server accepted when its sender was killed is sent again, with the
    // same Message-ID. Every other e-mail is sent once.
    let limit = rounds.get() * SENDING;
    ensure!(
        repeated <= limit,
        "{repeated} e-mails were sent twice; the kills explain at most {limit}"
    );
    check_no_message_is_left(&system).await?;
    check_sequences(&topics::domain_events(&system.servers, &system.topic_prefix).await?)?;

    let failures = system.stop().await?;
    ensure!(failures.is_empty(), "the drain failed: {failures:?}");
    Ok(())
}

async fn check_operations(system: &System) -> Result<()> {
    let gateway = PgPool::connect(system.database("gateway")).await?;
    let pending = "SELECT count(*) FROM operations WHERE state = 'pending'";
    eventually("every operation has an outcome", async || {
        let pending: i64 = sqlx::query_scalar(pending).fetch_one(&gateway).await?;
        Ok(pending == 0)
    })
    .await?;
    gateway.close().await;
    Ok(())
}

/// Checks that each cause led to one e-mail, which its recipient sees once. Returns how many e-mails were received
/// twice.
async fn check_mails(system: &System, outcome: &Outcome) -> Result<usize> {
    let people = [&outcome.organizer, &outcome.first, &outcome.second];
    let addresses = people.map(|person| person.email.clone());
    let received = mails::arrived(&system.servers.maildev, &addresses, MAILS, DEADLINE).await?;
    let mut causes: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for mail in &received {
        let mails = causes.entry((&mail.to, &mail.subject)).or_default();
        mails.insert(&mail.message_id);
    }
    ensure!(
        causes.len() == MAILS && causes.values().all(|mails| mails.len() == 1),
        "expected {MAILS} causes with one e-mail each: {received:#?}"
    );
    for person in people {
        let mails = causes.keys().filter(|(to, _)| *to == person.email).count();
        eventually("every e-mail is shown as sent", async || {
            let shown = person.client.get("/v1/me/notifications?limit=200").await?;
            let shown = shown.body["items"].as_array().cloned().unwrap_or_default();
            ensure!(shown.len() <= mails, "{} sees {shown:#?}", person.name);
            Ok(shown.len() == mails && shown.iter().all(|mail| mail["status"] == "sent"))
        })
        .await?;
    }
    Ok(received.len() - MAILS)
}

/// Checks that no message is parked or dead-lettered.
async fn check_no_message_is_left(system: &System) -> Result<()> {
    for service in SERVICES {
        let url = system.database(service);
        for table in ["parked", "dead_letters"] {
            let what = format!("{service} has no {table}");
            if url.starts_with("mongodb") {
                let client = mongodb::Client::with_uri_str(url).await?;
                let database = client.default_database().context("the URL names no database")?;
                let records = database.collection::<mongodb::bson::Document>(table);
                let empty = async || Ok(records.count_documents(mongodb::bson::doc! {}).await? == 0);
                eventually(&what, empty).await?;
            } else {
                let pool = PgPool::connect(url).await?;
                let rows = format!("SELECT count(*) FROM {table}");
                let empty = async || Ok(sqlx::query_scalar::<_, i64>(&rows).fetch_one(&pool).await? == 0);
                eventually(&what, empty).await?;
                pool.close().await;
            }
        }
    }
    Ok(())
}

/// Checks that the sequences of each topic and key are 1, 2, 3…, with one message per number.
fn check_sequences(events: &[DomainEvent]) -> Result<()> {
    let mut keys: HashMap<(&str, &str), HashMap<i64, &str>> = HashMap::new();
    for event in events {
        let numbers = keys.entry((event.topic.as_str(), event.key.as_str())).or_default();
        let known = numbers.entry(event.sequence).or_insert(event.id.as_str());
        ensure!(
            *known == event.id,
            "{} {} has two messages with sequence {}",
            event.topic,
            event.key,
            event.sequence
        );
    }
    for ((topic, key), numbers) in keys {
        for sequence in 1..=numbers.len() as i64 {
            ensure!(
                numbers.contains_key(&sequence),
                "{topic} {key} has no message with sequence {sequence}"
            );
        }
    }
    Ok(())
}

async fn eventually(what: &str, condition: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await? {
        ensure!(
            Instant::now() < deadline,
            "timed out after {DEADLINE:?} waiting until {what}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
