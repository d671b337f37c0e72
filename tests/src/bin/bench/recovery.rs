//! P12: the time after a `kill -9` until the rate is restored. P15: the rate at which the audit service stores records.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mongodb::bson::Document;
use rollcall::servers::Servers;
use rollcall::system::{Database, SERVICES};
use tokio_util::sync::CancellationToken;

use crate::capacity;
use crate::load::Connection;
use crate::naive;
use crate::report::{Row, Samples, today};
use crate::site::Site;

const CLIENTS: usize = 32;
/// Time for which the rate is measured before the kill.
const BEFORE: Duration = Duration::from_secs(4);
/// Time after the kill, in which the rate must be restored.
const AFTER: Duration = Duration::from_secs(15);
/// A rate is an average over this time.
const WINDOW: Duration = Duration::from_secs(1);
const RESTORED: f64 = 0.95;
/// Clients that fill the topics for P15.
const WRITERS: usize = 128;
const NAIVE_SECONDS: u32 = 3;
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(60);

/// P12: kills each service in turn.
pub(crate) async fn after_kill(servers: &Servers, repeats: usize) -> Result<Row> {
    let mut slowest = Samples::new("s");
    let mut detail = String::new();
    let mut site = Site::start_with(servers, &[]).await?;
    let result = async {
        for repeat in 1..=repeats {
            let mut times = Vec::new();
            for service in SERVICES {
                times.push((service, kill_under_load(&mut site, service).await?.as_secs_f64()));
            }
            slowest.push(times.iter().map(|(_, time)| *time).fold(0.0, f64::max));
            let parts: Vec<_> = times
                .iter()
                .map(|(service, time)| format!("{service} {time:.1}"))
                .collect();
            detail = parts.join(", ");
            eprintln!("P12 repeat {repeat}: {detail} s");
        }
        anyhow::Ok(())
    }
    .await;
    site.stop().await?;
    result?;
    let median = slowest.median();
    Ok(Row {
        id: "P12".to_owned(),
        command: "P12".to_owned(),
        what: "`kill -9` of a process under load: time until 95 % of the rate is restored, slowest service".to_owned(),
        against: None,
        against_what: String::new(),
        must: "5 s".to_owned(),
        aim: "2 s".to_owned(),
        result: format!("{median:.1} s"),
        met: Some(median <= 5.0),
        measured_on: today(),
        note: Some(format!(
            "{CLIENTS} clients draft events. After {} s, a service is killed and started again at once. A client whose request \
             failed sends the next one 20 ms later. The rate counts `201` over {} s, and must reach 95 % of the average before \
             the kill. {} s without recovery count as such. The last repeat, in seconds: {detail}.",
            BEFORE.as_secs(),
            WINDOW.as_secs(),
            AFTER.as_secs()
        )),
        measured: slowest,
    })
}

async fn kill_under_load(site: &mut Site, service: &'static str) -> Result<Duration> {
    let done: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let stop = CancellationToken::new();
    let draft = Arc::new(site.drafts());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, draft) = (site.address().to_owned(), Arc::clone(&draft));
            let (done, stop) = (Arc::clone(&done), stop.clone());
            tokio::spawn(async move {
                let mut connection = None;
                while !stop.is_cancelled() {
                    if attempt(&mut connection, &address, &draft()).await {
                        done.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                    } else {
                        connection = None;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            })
        })
        .collect();
    // The first second warms up connections.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let from = Instant::now();
    tokio::time::sleep(BEFORE).await;
    let killed = Instant::now();
    let restarted = async {
        site.system.kill(service).await?;
        site.system.restart(service).await
    }
    .await;
    tokio::time::sleep(AFTER.saturating_sub(killed.elapsed())).await;
    stop.cancel();
    for client in clients {
        client.await?;
    }
    restarted?;
    let done = done.lock().unwrap_or_else(PoisonError::into_inner);
    let count = |from: Instant, until: Instant| done.iter().filter(|time| **time >= from && **time < until).count();
    let before = count(from, killed) as f64 / BEFORE.as_secs_f64();
    ensure!(before > 0.0, "no request succeeded before the kill");
    let step = Duration::from_millis(100);
    let mut waited = Duration::ZERO;
    while waited + WINDOW <= AFTER {
        let start = killed + waited;
        if count(start, start + WINDOW) as f64 / WINDOW.as_secs_f64() >= RESTORED * before {
            return Ok(waited);
        }
        waited += step;
    }
    Ok(AFTER)
}

/// Returns whether a request got its 201.
async fn attempt(connection: &mut Option<Connection>, address: &str, request: &[u8]) -> bool {
    if connection.is_none() {
        *connection = Connection::open(address).await.ok();
    }
    match connection {
        Some(connection) => matches!(connection.send(request).await, Ok(201)),
        None => false,
    }
}

/// P15: stops the audit service, fills the topics, and measures how fast it then stores the records.
pub(crate) async fn audit(servers: &Servers, repeats: usize) -> Result<Row> {
    let mut measured = Samples::new("records/s");
    let mut against = Samples::new("transactions/s");
    let mut site = Site::start_with(servers, &[]).await?;
    let result = async {
        for repeat in 0..=repeats {
            let database = Database::create(servers, "bench_naive").await?;
            let naive = naive::transactions_per_second(&database.url, NAIVE_SECONDS).await?;
            database.drop().await?;
            let rate = catch_up(&mut site).await?;
            if repeat > 0 {
                against.push(naive);
                measured.push(rate);
            }
            eprintln!("P15 repeat {repeat}: {rate:.0} records/s, naive {naive:.0}/s");
        }
        anyhow::Ok(())
    }
    .await;
    site.stop().await?;
    result?;
    let ratio = Row::ratio(&measured, &against);
    Ok(Row {
        id: "P15".to_owned(),
        command: "P15".to_owned(),
        what: "audit: records stored per second".to_owned(),
        measured,
        against: Some(against),
        against_what: naive::WHAT.to_owned(),
        must: "1 x, or the lag is reported".to_owned(),
        aim: "3 x".to_owned(),
        result: format!("{ratio:.2} x"),
        met: Some(ratio >= 1.0),
        measured_on: today(),
        note: Some(format!(
            "The audit service is killed, {WRITERS} clients draft events, and the service starts again. The rate is measured \
             between 10 % and 90 % of the entries that it then stores in MongoDB. The other services are idle."
        )),
    })
}

async fn catch_up(site: &mut Site) -> Result<f64> {
    let mongo = mongodb::Client::with_uri_str(&site.system.servers.mongodb).await?;
    let url = site.system.database("audit").to_owned();
    let name = url.split('?').next().and_then(|url| url.rsplit('/').next());
    let entries = mongo
        .database(name.context("the database has no name")?)
        .collection::<Document>("entries");
    site.system.kill("audit").await?;
    let load = capacity::drafts(site, WRITERS).await;
    let before = entries.estimated_document_count().await?;
    site.system.restart("audit").await?;
    load?;
    let mut counts = vec![(Instant::now(), before)];
    let (mut changed, started) = (Instant::now(), Instant::now());
    // Until no entry was added for 2 s.
    while changed.elapsed() < Duration::from_secs(2) && started.elapsed() < CAUGHT_UP_WITHIN {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let count = entries.estimated_document_count().await?;
        if counts.last().is_none_or(|(_, last)| count > *last) {
            changed = Instant::now();
            counts.push((changed, count));
        }
    }
    let last = counts.last().map_or(before, |(_, count)| *count);
    let at = |share: f64| {
        let count = before + ((last - before) as f64 * share) as u64;
        counts.iter().find(|(_, reached)| *reached >= count).copied()
    };
    let (from, until) = at(0.1).zip(at(0.9)).context("the audit service stored nothing")?;
    ensure!(until.0 > from.0, "the audit service stored too few entries to measure");
    Ok((until.1 - from.1) as f64 / (until.0 - from.0).as_secs_f64())
}
