//! kill -9 of every service, again and again, while journeys are under way.

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

/// Journeys at a time. Whoever is through begins another one, until every service was killed in so many rounds.
const PLAYERS: usize = 4;
const ROUNDS: usize = 2;

/// Letters that a killed process can have had in its hands: SENDERS in each of two lanes.
const SENDING: usize = 8;

const SETTLED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn killing_any_service_loses_and_doubles_nothing() -> Result<()> {
    let options = Options::isolated(log_folder("crashes"));
    let mut system = System::start(Servers::from_env()?, options, |_| {}).await?;
    let gateway = system.gateways()[0].clone();
    let secrets = system.secrets().clone();

    let (rounds, playing) = (Cell::new(0), Cell::new(true));
    let players = (0..PLAYERS).map(|_| async {
        let mut outcomes = Vec::new();
        while outcomes.is_empty() || rounds.get() < ROUNDS {
            let outcome = Journey::new(&gateway, |_| {}).patient().play_as(&secrets).await;
            outcomes.push(outcome.context("a journey did not end well")?);
        }
        anyhow::Ok(outcomes)
    });
    let journeys = async {
        let outcomes = futures::future::try_join_all(players).await;
        playing.set(false);
        outcomes
    };
    // Each service is started again before the next is killed.
    let kills = async {
        while playing.get() {
            for service in SERVICES {
                system.kill(service).await?;
                system.restart(service).await.context("a service did not come back")?;
            }
            rounds.set(rounds.get() + 1);
        }
        anyhow::Ok(())
    };
    let (outcomes, ()) = tokio::try_join!(journeys, kills)?;

    every_operation_is_settled(&system).await?;
    let mut twice = 0;
    for outcome in outcomes.iter().flatten() {
        twice += every_mail_came_once(&system, outcome).await?;
        Journey::new(&gateway, |_| {}).audit(outcome).await?;
    }
    // SMTP knows no transactions: a letter that the server took when its sender was killed comes again, under its
    // Message-ID. Everything else comes once.
    let in_hand = rounds.get() * SENDING;
    ensure!(twice <= in_hand, "{twice} mails came twice; kills explain {in_hand}");
    nothing_is_set_aside(&system).await?;
    sequences_are_complete(&topics::domain_events(&system.servers, &system.topic_prefix).await?)?;

    let wrong = system.stop().await?;
    ensure!(wrong.is_empty(), "the drain went wrong: {wrong:?}");
    Ok(())
}

async fn every_operation_is_settled(system: &System) -> Result<()> {
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

/// For each cause one mail, told once to whom it went. Answers how many came a second time.
async fn every_mail_came_once(system: &System, outcome: &Outcome) -> Result<usize> {
    let people = [&outcome.organizer, &outcome.first, &outcome.second];
    let addresses = people.map(|person| person.email.clone());
    let arrived = mails::arrived(&system.servers.maildev, &addresses, MAILS, SETTLED_WITHIN).await?;
    let mut causes: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for mail in &arrived {
        let mails = causes.entry((&mail.to, &mail.subject)).or_default();
        mails.insert(&mail.message_id);
    }
    ensure!(
        causes.len() == MAILS && causes.values().all(|mails| mails.len() == 1),
        "{MAILS} causes with one mail each were expected: {arrived:#?}"
    );
    for person in people {
        let mails = causes.keys().filter(|(to, _)| *to == person.email).count();
        eventually("every mail is told as sent", async || {
            let told = person.client.get("/v1/me/notifications?limit=200").await?;
            let told = told.body["items"].as_array().cloned().unwrap_or_default();
            ensure!(told.len() <= mails, "{} is told of {told:#?}", person.name);
            Ok(told.len() == mails && told.iter().all(|mail| mail["status"] == "sent"))
        })
        .await?;
    }
    Ok(arrived.len() - MAILS)
}

/// Nothing waits behind a gap or a poison message, and nothing was given up.
async fn nothing_is_set_aside(system: &System) -> Result<()> {
    for service in SERVICES {
        let url = system.database(service);
        for place in ["parked", "dead_letters"] {
            let what = format!("{service} has no {place}");
            if url.starts_with("mongodb") {
                let client = mongodb::Client::with_uri_str(url).await?;
                let database = client.default_database().context("the URL names a database")?;
                let records = database.collection::<mongodb::bson::Document>(place);
                let empty = async || Ok(records.count_documents(mongodb::bson::doc! {}).await? == 0);
                eventually(&what, empty).await?;
            } else {
                let pool = PgPool::connect(url).await?;
                let rows = format!("SELECT count(*) FROM {place}");
                let empty = async || Ok(sqlx::query_scalar::<_, i64>(&rows).fetch_one(&pool).await? == 0);
                eventually(&what, empty).await?;
                pool.close().await;
            }
        }
    }
    Ok(())
}

/// Per topic and key, 1, 2, 3… without a gap, and never two messages under one number.
fn sequences_are_complete(events: &[DomainEvent]) -> Result<()> {
    let mut keys: HashMap<(&str, &str), HashMap<i64, &str>> = HashMap::new();
    for event in events {
        let numbers = keys.entry((event.topic.as_str(), event.key.as_str())).or_default();
        let known = numbers.entry(event.sequence).or_insert(event.id.as_str());
        ensure!(
            *known == event.id,
            "{} {} has two messages {}",
            event.topic,
            event.key,
            event.sequence
        );
    }
    for ((topic, key), numbers) in keys {
        for sequence in 1..=numbers.len() as i64 {
            ensure!(numbers.contains_key(&sequence), "{topic} {key} lacks {sequence}");
        }
    }
    Ok(())
}

async fn eventually(what: &str, holds: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + SETTLED_WITHIN;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "not within {SETTLED_WITHIN:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
