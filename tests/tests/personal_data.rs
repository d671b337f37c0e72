//! Tests where personal data and secrets are stored, and that an erasure removes all personal data. A person with unique
//! values uses every feature; then every store, topic, log, metric and trace is searched for these values.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use contracts::{Kind, topics};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::{ClientConfig, client::DefaultClientContext};
use reqwest::{Method, StatusCode};
use rollcall::client::Client;
use rollcall::journey::Journey;
use rollcall::servers::Servers;
use rollcall::system::{Options, System};
use rollcall::{log_folder, search, topics as log};
use serde_json::{Value, json};
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(60);

const EMAIL: &str = "quetzal.canary@birds.example";
const NEXT_EMAIL: &str = "resplendent.canary@birds.example";
const USERNAME: &str = "quetzal_canary";
const NAME: &str = "Quetzalina Canarybird";
const BORN: &str = "1987-03-29";
const PASSWORD: &str = "canary plumage 1987 green";
const NEXT_PASSWORD: &str = "canary plumage 1988 green";

/// Personal data, which may be stored where an erasure can remove it.
const PERSONAL: &[&str] = &[EMAIL, NEXT_EMAIL, USERNAME, NAME];
/// Secrets, which must not be stored in plain text.
const SECRET: &[&str] = &[PASSWORD, NEXT_PASSWORD];

#[tokio::test(flavor = "multi_thread")]
async fn personal_data_is_stored_only_where_an_erasure_removes_it() -> Result<()> {
    let system = System::start(
        Servers::from_env()?,
        Options::isolated(log_folder("personal-data")),
        |_| {},
    )
    .await?;
    let gateway = system.gateways()[0].clone();
    let mut journey = Journey::new(&gateway, |_| {});
    let organizer = journey.sign_up("ada").await?;
    let organizer = journey.make_organizer(system.secrets(), organizer).await?;
    let event = journey.publish_event(&organizer).await?;

    let tokens = use_everything(&system, &gateway, &event).await?;
    let person = tokens.person.clone();
    let secrets: Vec<&str> = SECRET
        .iter()
        .copied()
        .chain(tokens.all.iter().map(String::as_str))
        .collect();

    let allowed = [
        "gateway.profiles",
        "notification.profiles",
        "user.names",
        "user.profiles",
    ];
    eventually("only the allowed stores contain personal data", async || {
        let mut locations = search::stores(&system, PERSONAL).await?;
        // A message stays in the outbox only until the broker acknowledges it.
        locations.retain(|location| location != "user.outbox" && location != "gateway.outbox");
        locations.sort();
        Ok((locations == allowed).then_some(()).ok_or(locations))
    })
    .await?;
    let locations = search::stores(&system, &secrets).await?;
    ensure!(locations.is_empty(), "passwords or tokens are stored in {locations:?}");
    check_nothing_is_exposed(&system, &secrets).await?;

    erase(&system, &person).await?;
    eventually("no store contains personal data", async || {
        let locations = search::stores(&system, PERSONAL).await?;
        Ok(locations.is_empty().then_some(()).ok_or(locations))
    })
    .await?;
    check_nothing_is_exposed(&system, &secrets).await?;
    check_compaction(&system, &gateway, &person).await?;

    drop(journey);
    let failures = system.stop().await?;
    ensure!(failures.is_empty(), "the drain failed: {failures:?}");
    Ok(())
}

struct Tokens {
    person: String,
    all: Vec<String>,
}

/// Uses every feature of an account. Returns the person's id and the tokens that were issued.
async fn use_everything(system: &System, gateway: &str, event: &str) -> Result<Tokens> {
    let anonymous = Client::new(gateway);
    let sign_up = json!({
        "email": EMAIL, "username": USERNAME, "full_name": NAME, "date_of_birth": BORN,
        "password": PASSWORD, "time_zone": "America/Guatemala",
    });
    let response = anonymous.post("/v1/users", sign_up.clone()).await?;
    let person = response.expect(StatusCode::CREATED)?.text("id")?;
    // Rejected, so nothing is stored.
    let duplicate = anonymous.post("/v1/users", sign_up).await?;
    duplicate.expect(StatusCode::CONFLICT)?;
    let wrong = json!({ "email": EMAIL, "password": NEXT_PASSWORD });
    anonymous
        .post("/v1/sessions", wrong)
        .await?
        .expect(StatusCode::UNAUTHORIZED)?;

    let right = json!({ "email": EMAIL, "password": PASSWORD });
    let session = anonymous
        .post("/v1/sessions", right)
        .await?
        .expect(StatusCode::CREATED)?;
    let mut all = vec![session.text("access_token")?, session.text("refresh_token")?];
    let member = anonymous.sign_in(EMAIL, PASSWORD).await?;
    let registered = member
        .post(&format!("/v1/events/{event}/registrations"), json!({}))
        .await?;
    let registration = registered.expect(StatusCode::CREATED)?.text("id")?;
    let ticket = member.get(&format!("/v1/registrations/{registration}/ticket")).await?;
    all.push(ticket.expect(StatusCode::OK)?.text("code")?);
    member
        .delete(&format!("/v1/registrations/{registration}"))
        .await?
        .expect(StatusCode::OK)?;

    let user = format!("/v1/users/{person}");
    member
        .send(Method::PATCH, &user, Some(json!({ "email": NEXT_EMAIL })), &[])
        .await?
        .expect(StatusCode::OK)?;
    member
        .post(&format!("{user}/verification"), json!({}))
        .await?
        .expect(StatusCode::NO_CONTENT)?;
    let reset = json!({ "email": NEXT_EMAIL });
    anonymous
        .post("/v1/password-resets", reset)
        .await?
        .expect(StatusCode::NO_CONTENT)?;
    for subject in ["Confirm", "password"] {
        all.push(mailed_token(system, subject).await?);
    }
    let change = json!({ "old_password": PASSWORD, "new_password": NEXT_PASSWORD });
    member
        .put("/v1/me/password", change)
        .await?
        .expect(StatusCode::NO_CONTENT)?;
    member.get(&format!("{user}/export")).await?.expect(StatusCode::OK)?;
    Ok(Tokens { person, all })
}

/// Returns the token of the newest e-mail to the new address whose subject contains this word.
async fn mailed_token(system: &System, subject: &str) -> Result<String> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mails: Vec<Value> = reqwest::get(format!("{}/email", system.servers.maildev))
            .await?
            .json()
            .await?;
        let token = mails
            .iter()
            .filter(|mail| mail.pointer("/to/0/address").and_then(Value::as_str) == Some(NEXT_EMAIL))
            .filter(|mail| mail["subject"].as_str().is_some_and(|text| text.contains(subject)))
            .filter_map(|mail| mail["text"].as_str().and_then(|text| text.split('#').nth(1)))
            .filter_map(|rest| rest.split_whitespace().next())
            .next_back();
        if let Some(token) = token {
            return Ok(token.to_owned());
        }
        ensure!(
            Instant::now() < deadline,
            "no e-mail with subject {subject:?} was received"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn erase(system: &System, person: &str) -> Result<()> {
    let admin = system.admin().await?;
    let response = admin.post(&format!("/v1/users/{person}/erasure"), json!({})).await?;
    let response = admin.settled(response, DEADLINE).await?;
    ensure!(
        response.status.is_success(),
        "the erasure was rejected: {}",
        response.body
    );
    ensure!(
        response.body["status"] != "rejected",
        "the erasure was rejected: {}",
        response.body
    );
    Ok(())
}

/// Checks that keys, headers, domain events, facts, replies, logs, metrics and traces contain neither personal data nor
/// secrets, and that commands and state messages contain no secrets.
async fn check_nothing_is_exposed(system: &System, secrets: &[&str]) -> Result<()> {
    let both: Vec<&str> = PERSONAL.iter().chain(secrets).copied().collect();
    for record in log::records(&system.servers, &system.topic_prefix, |_| true).await? {
        let topic = record.topic.name;
        ensure!(
            !search::holds(&record.key, &both),
            "a key on {topic} contains personal data or a secret"
        );
        for (name, value) in &record.headers {
            ensure!(
                !search::holds(value, &both),
                "header {name} on {topic} contains personal data or a secret"
            );
        }
        let hidden: &[&str] = match record.topic.kind {
            Kind::Commands | Kind::State => secrets,
            Kind::DomainEvents | Kind::Facts | Kind::Replies => &both,
        };
        let value = record.value.unwrap_or_default();
        ensure!(
            !search::holds(&value, hidden),
            "a value on {topic} contains personal data or a secret: {:?}",
            record.headers
        );
    }
    for process in system.processes() {
        let logged = std::fs::read(system.log(&process.name))?;
        ensure!(
            !search::holds(&logged, &both),
            "the log of {} contains personal data or a secret",
            process.name
        );
        let metrics = system.metrics(process).await?;
        ensure!(
            !search::holds(metrics.as_bytes(), &both),
            "the metrics of {} contain personal data or a secret",
            process.name
        );
    }
    let jaeger = system
        .servers
        .jaeger
        .as_deref()
        .context("JAEGER_QUERY_URL is not set")?;
    for service in rollcall::system::SERVICES {
        let url = format!("{jaeger}/api/traces?service={service}&limit=1500&lookback=1h");
        let traces = reqwest::get(url).await?.bytes().await?;
        ensure!(
            !search::holds(&traces, &both),
            "a trace of {service} contains personal data or a secret"
        );
    }
    Ok(())
}

/// Makes the broker compact `users.profiles`, and checks that no topic contains personal data any more, except command
/// topics, whose records are deleted after their retention.
async fn check_compaction(system: &System, gateway: &str, person: &str) -> Result<()> {
    let name = topics::USERS_PROFILES.full_name(&system.topic_prefix);
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &system.servers.kafka)
        .create()?;
    let eager = AlterConfig::new(ResourceSpecifier::Topic(&name))
        .set("cleanup.policy", "compact")
        .set("segment.ms", "100")
        .set("min.cleanable.dirty.ratio", "0.001")
        .set("delete.retention.ms", "0");
    for result in admin.alter_configs([&eager], &AdminOptions::new()).await? {
        result.map_err(|(_, code)| anyhow::anyhow!("cannot change the topic's settings: {code}"))?;
    }
    let partition = partition_of(system, person)
        .await?
        .context("the person has neither a profile nor a tombstone")?;
    let started = Instant::now();
    // Only a closed segment is compacted, and the next record of its partition closes a segment.
    while started.elapsed() < DEADLINE {
        let newcomer = Journey::new(gateway, |_| {}).sign_up("dan").await?;
        if partition_of(system, &newcomer.id).await? != Some(partition) {
            continue;
        }
        let found = || async {
            let records = log::records(&system.servers, &system.topic_prefix, |topic| {
                topic.kind != Kind::Commands
            });
            let records = records.await?;
            let values = records.iter().filter_map(|record| record.value.as_deref());
            anyhow::Ok(values.filter(|value| search::holds(value, PERSONAL)).count())
        };
        let waiting = Instant::now();
        while waiting.elapsed() < Duration::from_secs(20) {
            if found().await? == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    anyhow::bail!("topics still contain personal data after {DEADLINE:?}")
}

/// Returns the partition of the newest record of a user's profile.
async fn partition_of(system: &System, user: &str) -> Result<Option<i32>> {
    let key = Uuid::parse_str(user)?.to_string();
    let records = log::records(&system.servers, &system.topic_prefix, |topic| {
        topic.name == topics::USERS_PROFILES.name
    });
    let records = records.await?;
    let found = records.iter().rev().find(|record| record.key == key.as_bytes());
    Ok(found.map(|record| record.partition))
}

/// Repeats `check` until it succeeds. The error contains what the last check found.
async fn eventually<F>(what: &str, check: F) -> Result<()>
where
    F: AsyncFn() -> Result<Result<(), Vec<String>>>,
{
    let deadline = Instant::now() + DEADLINE;
    loop {
        match check().await? {
            Ok(()) => return Ok(()),
            Err(found) => ensure!(
                Instant::now() < deadline,
                "timed out after {DEADLINE:?} waiting until {what}; found {found:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
