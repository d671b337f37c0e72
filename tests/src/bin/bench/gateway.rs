//! P8 and P9: the gateway beside a bare axum handler. P7: the memory of the services. P10: the cost of traces.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rollcall::servers::Servers;

use crate::bare::Bare;
use crate::capacity;
use crate::load::{Connection, closed_loop};
use crate::process;
use crate::report::{Row, Samples, today};
use crate::site::{Site, on_a_site};

const CLIENTS: usize = 32;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(4);
/// Clients of P7 and P10.
const MANY_CLIENTS: usize = 128;

/// P7: the memory of each service at full load.
pub(crate) async fn memory(servers: &Servers, repeats: usize) -> Result<Row> {
    let mut largest = Samples::new("MiB");
    let mut detail = String::new();
    for repeat in 1..=repeats {
        // A new system for each repeat, because the largest memory never decreases.
        let peaks = on_a_site(servers, &[], async |site| {
            for clients in [MANY_CLIENTS, 400] {
                capacity::drafts(site, clients).await?;
            }
            site.system
                .process_ids()
                .into_iter()
                .map(|(name, pid)| Ok((name.trim_end_matches("-1").to_owned(), process::peak_memory(pid)?)))
                .collect::<Result<Vec<_>>>()
        })
        .await?;
        largest.push(peaks.iter().map(|(_, peak)| *peak).fold(0.0, f64::max));
        let parts: Vec<_> = peaks.iter().map(|(name, peak)| format!("{name} {peak:.0}")).collect();
        detail = parts.join(", ");
        eprintln!("P7 repeat {repeat}: {detail} MiB");
    }
    let median = largest.median();
    Ok(Row {
        id: "P7".to_owned(),
        command: "P7".to_owned(),
        what: "memory of the largest service at full load".to_owned(),
        against: None,
        against_what: String::new(),
        must: "60 MB".to_owned(),
        aim: "30 MB".to_owned(),
        result: format!("{median:.0} MiB"),
        // 60 MB are 57.2 MiB.
        met: Some(median <= 57.2),
        measured_on: today(),
        note: Some(format!(
            "The largest resident memory (`VmHWM`) of each process since its start, after closed loops of {MANY_CLIENTS} and \
             400 clients that draft events. The preparation signs two users in, and each password takes 19 MiB in the \
             gateway while it is hashed. The last repeat, in MiB: {detail}."
        )),
        measured: largest,
    })
}

/// P8: reads of one event by a signed-in user.
pub(crate) async fn reads(servers: &Servers, repeats: usize) -> Result<Row> {
    on_a_site(servers, &[], async |site| {
        let draft = site.drafts()();
        let (status, created) = answer(site.address(), &draft).await?;
        ensure!(status == 201, "an event was not created");
        let created: serde_json::Value = serde_json::from_slice(&created)?;
        let id = created["id"].as_str().context("the event has no id")?;
        let read = site.organizer.read(&format!("/v1/events/{id}"));
        let (measured, against) = beside_bare(site, repeats, "P8", 200, move || read.clone()).await?;
        let ratio = Row::ratio(&measured, &against);
        Ok(Row {
            id: "P8".to_owned(),
            command: "P8".to_owned(),
            what: "gateway: `GET /v1/events/{id}` of a signed-in user".to_owned(),
            measured,
            against: Some(against),
            against_what: "a bare axum handler that returns the same bytes".to_owned(),
            must: "0.7 x".to_owned(),
            aim: "0.85 x".to_owned(),
            result: format!("{ratio:.2} x"),
            met: Some(ratio >= 0.7),
            measured_on: today(),
            note: Some(format!(
                "Closed loop of {CLIENTS} clients for {} s with each side in turn. Both sides are processes on the same cores, \
                 with the load generator. The gateway verifies the token, counts the request against its limits, records a \
                 trace and metrics, and reads the event from Postgres.",
                MEASURED.as_secs()
            )),
        })
    })
    .await
}

/// P9: writes that return 202.
pub(crate) async fn writes(servers: &Servers, repeats: usize) -> Result<Row> {
    on_a_site(servers, &[], async |site| {
        let (organizer, body) = (site.organizer.clone(), crate::site::draft().to_string());
        let write = move || organizer.write_with("prefer: respond-async\r\n", "/v1/events", &body);
        let (measured, against) = beside_bare(site, repeats, "P9", 202, write).await?;
        let ratio = Row::ratio(&measured, &against);
        Ok(Row {
            id: "P9".to_owned(),
            command: "P9".to_owned(),
            what: "gateway: `POST /v1/events` that returns 202".to_owned(),
            measured,
            against: Some(against),
            against_what: "a bare axum handler that returns the same bytes".to_owned(),
            must: "0.3 x".to_owned(),
            aim: "0.5 x".to_owned(),
            result: format!("{ratio:.2} x"),
            met: Some(ratio >= 0.3),
            measured_on: today(),
            note: Some(format!(
                "As P8, with `Prefer: respond-async`. Every accepted command is committed by the gateway, and executed by the \
                 other services on the same cores meanwhile. {CLIENTS} clients."
            )),
        })
    })
    .await
}

async fn answer(address: &str, request: &[u8]) -> Result<(u16, Vec<u8>)> {
    let mut connection = Connection::open(address).await?;
    let status = connection.send(request).await?;
    Ok((status, connection.body().to_vec()))
}

/// Measures the gateway and a bare handler in turn.
async fn beside_bare(
    site: &Site,
    repeats: usize,
    id: &str,
    expected: u16,
    request: impl Fn() -> Vec<u8> + Clone + Send + Sync + 'static,
) -> Result<(Samples, Samples)> {
    let (status, body) = answer(site.address(), &request()).await?;
    ensure!(status == expected, "the gateway returned {status}");
    let bare = Bare::start(expected, &body).await?;
    let mut measured = Samples::new("requests/s");
    let mut against = Samples::new("requests/s");
    for repeat in 0..=repeats {
        let mut rates = [0.0; 2];
        for (rate, address) in rates.iter_mut().zip([site.address(), bare.address.as_str()]) {
            let request = request.clone();
            let load = closed_loop(address, CLIENTS, WARM_UP, MEASURED, expected, move || Some(request())).await?;
            *rate = load.per_second();
        }
        let [gateway, bare] = rates;
        if repeat > 0 {
            measured.push(gateway);
            against.push(bare);
        }
        eprintln!("{id} repeat {repeat}: {gateway:.0}/s, bare {bare:.0}/s");
    }
    Ok((measured, against))
}

/// P10: two systems, one with traces, measured in turn.
pub(crate) async fn traces(servers: &Servers, repeats: usize) -> Result<Row> {
    ensure!(servers.otlp.is_some(), "P10 needs a trace collector");
    let untraced = Servers {
        otlp: None,
        ..servers.clone()
    };
    let mut measured = Samples::new("requests/s");
    let mut against = Samples::new("requests/s");
    on_a_site(servers, &[], async |with| {
        on_a_site(&untraced, &[], async |without| {
            for repeat in 0..=repeats {
                let traced = capacity::drafts(with, MANY_CLIENTS).await?.per_second();
                let plain = capacity::drafts(without, MANY_CLIENTS).await?.per_second();
                if repeat > 0 {
                    measured.push(traced);
                    against.push(plain);
                }
                eprintln!("P10 repeat {repeat}: {traced:.0}/s, without traces {plain:.0}/s");
            }
            Ok(())
        })
        .await
    })
    .await?;
    let ratio = Row::ratio(&measured, &against);
    Ok(Row {
        id: "P10".to_owned(),
        command: "P10".to_owned(),
        what: format!("`POST /v1/events` with traces, closed loop of {MANY_CLIENTS} clients"),
        measured,
        against: Some(against),
        against_what: "the same without traces".to_owned(),
        must: "0.93 x".to_owned(),
        aim: "0.97 x".to_owned(),
        result: format!("{ratio:.2} x"),
        met: Some(ratio >= 0.93),
        measured_on: today(),
        note: Some(
            "Two systems run at the same time, and one of them has the load. Every trace is sampled, and sent to Jaeger on \
             the same cores. Metrics are on at both, because they cannot be turned off."
                .to_owned(),
        ),
    })
}
