//! Tests that the gateway uses far less than the 256 MiB of its container, under ordinary and heavy load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use rollcall::client::Client;
use rollcall::journey::Journey;
use rollcall::log_folder;
use rollcall::servers::Servers;
use rollcall::system::{Options, System, samples};
use serde_json::{Value, json};

const SIGNED_IN_MIB: f64 = 80.0;
/// Five eighths of the container's memory limit.
const PEAK_MIB: f64 = 160.0;
const MIB: f64 = 1024.0 * 1024.0;
const PASSWORD: &str = "correct horse battery staple";
const SIGN_UPS: usize = 250;
/// Number of concurrent sign-ups. The gateway rejects sign-ups when more of them wait for a hasher.
const CONCURRENT_SIGN_UPS: usize = 8;
const CLIENTS: usize = 128;
const LOAD_DURATION: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_stays_far_below_the_memory_of_its_container() -> Result<()> {
    let options = Options::isolated(log_folder("memory"));
    let system = System::start(Servers::from_env()?, options, |_| {}).await?;
    let gateway = system.gateways()[0].clone();
    let mut journey = Journey::new(&gateway, |_| {});
    let organizer = journey.sign_up("ada").await?;
    let organizer = journey.make_organizer(system.secrets(), organizer).await?;
    let resting = resident(&system).await?;

    let next = Arc::new(AtomicUsize::new(0));
    concurrently(CONCURRENT_SIGN_UPS, || {
        let (client, next) = (Client::new(&gateway), Arc::clone(&next));
        async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= SIGN_UPS {
                    return Ok(());
                }
                sign_up_and_sign_in(&client, number).await?;
            }
        }
    })
    .await?;
    let signed_in = resident(&system).await?;

    let started = Instant::now();
    let load = concurrently(CLIENTS, || {
        let client = organizer.client.clone();
        async move {
            while started.elapsed() < LOAD_DURATION {
                let response = client.post("/v1/events", draft()).await?;
                ensure!(response.status.is_success(), "{}: {}", response.status, response.body);
                client
                    .get("/v1/events?status=draft&limit=200")
                    .await?
                    .expect(StatusCode::OK)?;
                client.get("/openapi.json").await?.expect(StatusCode::OK)?;
            }
            Ok(())
        }
    });
    let peak = async {
        let mut peak = 0.0_f64;
        let mut ticks = tokio::time::interval(Duration::from_millis(250));
        while started.elapsed() < LOAD_DURATION {
            ticks.tick().await;
            peak = peak.max(resident(&system).await?);
        }
        anyhow::Ok(peak)
    };
    let (load, peak) = tokio::join!(load, peak);
    load?;
    let peak = peak?;
    let after = resident(&system).await?;
    eprintln!(
        "MiB: {resting:.0} at rest, {signed_in:.0} after sign-ins, {peak:.0} under load, {after:.0} after the load"
    );

    drop(journey);
    let failures = system.stop().await?;
    ensure!(failures.is_empty(), "the drain failed: {failures:?}");
    ensure!(
        signed_in < SIGNED_IN_MIB,
        "{signed_in:.0} MiB after {SIGN_UPS} sign-ups and sign-ins, {resting:.0} MiB before"
    );
    ensure!(
        peak < PEAK_MIB,
        "{peak:.0} MiB with {CLIENTS} clients, {signed_in:.0} MiB before"
    );
    ensure!(after < PEAK_MIB, "{after:.0} MiB after {CLIENTS} clients");
    Ok(())
}

/// Returns the resident memory of the gateway in MiB.
async fn resident(system: &System) -> Result<f64> {
    let process = system.processes().iter().find(|process| process.service == "gateway");
    let metrics = system.metrics(process.context("the system has no gateway")?).await?;
    let sample = samples(&metrics, "process_resident_memory_bytes").next();
    Ok(sample.context("the metric does not exist")?.1 / MIB)
}

async fn concurrently<F>(count: usize, task: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let tasks: Vec<_> = (0..count).map(|_| tokio::spawn(task())).collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn sign_up_and_sign_in(client: &Client, number: usize) -> Result<()> {
    let email = format!("person-{number}@rollcall.example");
    let body = json!({
        "email": email, "username": format!("person_{number}"), "full_name": "A person",
        "date_of_birth": "1990-05-17", "password": PASSWORD, "time_zone": "Europe/Berlin",
    });
    let wait = [("prefer", "wait=25")];
    let response = client.send(Method::POST, "/v1/users", Some(body), &wait).await?;
    response.expect(StatusCode::CREATED)?;
    client.sign_in(&email, PASSWORD).await?;
    Ok(())
}

/// Returns a draft with a description of 16 KiB, so a page of 200 drafts has 3 MiB.
fn draft() -> Value {
    json!({
        "title": "An event", "description": "Something to attend. ".repeat(800), "venue": "Pier 3", "time_zone": "UTC",
        "starts_at": "2099-06-01T10:00:00Z", "ends_at": "2099-06-01T18:00:00Z",
        "registration_closes_at": "2099-06-01T09:00:00Z", "capacity": 5, "waiting_list": true,
    })
}
