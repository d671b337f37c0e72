//! P5: the time from the request until the read model shows its effect, at half load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use rollcall::client::Client;
use rollcall::journey::Journey;
use rollcall::log_folder;
use rollcall::servers::Servers;
use rollcall::system::{Options, System};
use serde_json::{Value, json};

use crate::latency::{p99, raw_p99};
use crate::report::{Row, Samples};

const CLIENTS: usize = 32;
const CAPACITY_DURATION: Duration = Duration::from_secs(5);
const SECONDS: u32 = 8;

pub(crate) async fn measure(servers: &Servers, repeats: usize) -> Result<Row> {
    // Traces would only add load, because no one reads them here.
    let quiet = Servers {
        otlp: None,
        ..servers.clone()
    };
    let system = System::start(quiet, Options::isolated(log_folder("bench")), |_| {}).await?;
    let gateway = system.gateways()[0].clone();
    let mut journey = Journey::new(&gateway, |_| {});
    let organizer = journey.sign_up("ada").await?;
    let organizer = journey.make_organizer(system.secrets(), organizer).await?;

    let capacity = capacity(&organizer.client).await?;
    let rate = (capacity / 2.0).max(1.0) as u32;
    eprintln!("P5: {capacity:.0} events per second with {CLIENTS} clients; half load is {rate}");
    let mut measured = Samples::new("ms");
    let mut against = Samples::new("ms");
    for repeat in 0..=repeats {
        let raw = raw_p99(servers, rate).await?;
        let ours = at_rate(&organizer.client, rate).await?;
        if repeat > 0 {
            against.push(raw);
            measured.push(ours);
        }
        eprintln!("P5 repeat {repeat}: {ours:.1} ms, raw {raw:.1} ms");
    }
    drop(journey);
    let failures = system.stop().await?;
    ensure!(failures.is_empty(), "the drain failed: {failures:?}");
    let bounds: Vec<f64> = against.values.iter().map(|raw| 3.0 * raw + 10.0).collect();
    let met = measured
        .values
        .iter()
        .zip(&bounds)
        .filter(|(ours, bound)| ours <= bound)
        .count()
        * 2
        > measured.values.len();
    let bound = Samples {
        unit: "ms",
        values: bounds,
    }
    .median();
    Ok(Row {
        id: "P5",
        what: "POST → visible in the read model, p99, half load",
        measured,
        against,
        against_what: "K99: raw rdkafka produce (acks=all) → consume, p99 at that rate",
        must: format!("3 x K99 + 10 ms, here {bound:.1} ms"),
        met,
        note: format!(
            "Measured until `POST /v1/events` returns `201`, because the gateway's read model then shows the event: {rate} \
             requests per second for {SECONDS} s, half of the rate that {CLIENTS} clients reached. All six services run as \
             processes on the same two cores. Limited by this sharing: a request leads to four messages, and each of the \
             six services handles some of them."
        ),
    })
}

fn draft() -> Value {
    json!({
        "title": "A benchmark event", "description": "", "venue": "Pier 3", "time_zone": "UTC",
        "starts_at": "2099-06-01T10:00:00Z", "ends_at": "2099-06-01T18:00:00Z",
        "registration_closes_at": "2099-06-01T09:00:00Z", "capacity": 5, "waiting_list": true,
    })
}

async fn post(client: &Client) -> Result<Duration> {
    let started = Instant::now();
    let response = client
        .send(Method::POST, "/v1/events", Some(draft()), &[("prefer", "wait=25")])
        .await?;
    response.expect(StatusCode::CREATED)?;
    Ok(started.elapsed())
}

/// Returns the requests per second of a closed loop of clients.
async fn capacity(client: &Client) -> Result<f64> {
    let done = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (client, done) = (client.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                while started.elapsed() < CAPACITY_DURATION {
                    post(&client).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await?.context("cannot measure the capacity")?;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
}

/// Returns the 99th percentile of an open loop in milliseconds. A slow response does not delay the next request.
async fn at_rate(client: &Client, rate: u32) -> Result<f64> {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / f64::from(rate)));
    let mut tasks = Vec::new();
    for _ in 0..rate * SECONDS {
        ticks.tick().await;
        let client = client.clone();
        tasks.push(tokio::spawn(async move { post(&client).await }));
    }
    let mut took = Vec::new();
    for task in tasks {
        took.push(task.await??);
    }
    // The first second warms up connections.
    Ok(p99(took.split_off(rate as usize)))
}
