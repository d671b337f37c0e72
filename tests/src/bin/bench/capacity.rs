//! P5c: requests per second of a closed loop of clients, until the read model shows the effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use rollcall::servers::Servers;
use rollcall::system::Database;

use crate::load::{Load, User, closed_loop};
use crate::naive;
use crate::report::{Row, Samples, today};
use crate::site::{Site, on_a_site};

/// Number of clients, with the targets: must and aim, in requests per second.
const CLIENTS: [(usize, Option<(f64, f64)>); 4] = [
    (8, None),
    (32, Some((600.0, 1_200.0))),
    (128, Some((1_500.0, 3_000.0))),
    (400, Some((2_000.0, 4_000.0))),
];
const MEMBERS: usize = 400;
/// Events for the registrations of one number of clients; enough for 3,200 registrations per second.
const EVENTS: usize = 48;
const WARM_UP: Duration = Duration::from_secs(1);
const SECONDS: u64 = 5;
const NAIVE_SECONDS: u32 = 3;

#[derive(Debug, Clone, Copy)]
enum Write {
    Draft,
    Registration,
}

impl Write {
    fn route(self) -> &'static str {
        match self {
            Self::Draft => "POST /v1/events",
            Self::Registration => "POST /v1/events/{id}/registrations",
        }
    }
}

pub(crate) async fn measure(servers: &Servers, repeats: usize) -> Result<Vec<Row>> {
    let mut naive = Samples::new("transactions/s");
    let mut results: Vec<(Write, usize, Samples, Samples)> = [Write::Draft, Write::Registration]
        .into_iter()
        .flat_map(|write| CLIENTS.map(|(clients, _)| (write, clients, Samples::new("requests/s"), Samples::new("ms"))))
        .collect();
    on_a_site(servers, &[], async |site| {
        let members: Arc<[User]> = site.members(MEMBERS).await?.into();
        for repeat in 1..=repeats {
            let database = Database::create(servers, "bench_naive").await?;
            naive.push(naive::transactions_per_second(&database.url, NAIVE_SECONDS).await?);
            database.drop().await?;
            for (write, clients, rates, p99s) in &mut results {
                let load = match write {
                    Write::Draft => drafts(site, *clients).await?,
                    Write::Registration => registrations(site, &members, *clients).await?,
                };
                eprintln!(
                    "P5c repeat {repeat}: {}, {clients} clients: {:.0}/s, p50 {:.0} ms, p99 {:.0} ms, {} other responses",
                    write.route(),
                    load.per_second(),
                    load.percentile(50),
                    load.percentile(99),
                    load.others
                );
                rates.push(load.per_second());
                p99s.push(load.percentile(99));
            }
        }
        Ok(())
    })
    .await?;
    Ok(results
        .into_iter()
        .map(|(write, clients, measured, p99s)| row(write, clients, measured, &p99s, &naive))
        .collect())
}

/// Drafts events with a closed loop of clients.
pub(crate) async fn drafts(site: &Site, clients: usize) -> Result<Load> {
    let draft = site.drafts();
    let duration = Duration::from_secs(SECONDS);
    closed_loop(site.address(), clients, WARM_UP, duration, 201, move || Some(draft())).await
}

/// Registers all members for one event, then for the next event, and so on.
async fn registrations(site: &Site, members: &Arc<[User]>, clients: usize) -> Result<Load> {
    let events = site.published_events(EVENTS).await?;
    let (members, next) = (Arc::clone(members), AtomicUsize::new(0));
    let request = move || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let event = events.get(number / members.len())?;
        Some(members[number % members.len()].write(event, "{}"))
    };
    let duration = Duration::from_secs(SECONDS);
    closed_loop(site.address(), clients, WARM_UP, duration, 201, request).await
}

fn row(write: Write, clients: usize, measured: Samples, p99s: &Samples, naive: &Samples) -> Row {
    let targets = CLIENTS
        .iter()
        .find(|(count, _)| *count == clients)
        .and_then(|(_, targets)| *targets);
    let share = Row::ratio(&measured, naive);
    Row {
        id: format!("P5c-{}-{clients}", match write {
            Write::Draft => "events",
            Write::Registration => "registrations",
        }),
        command: "P5c".to_owned(),
        measured_on: today(),
        what: format!("`{}`, closed loop of {clients} clients", write.route()),
        against_what: naive::WHAT.to_owned(),
        must: targets.map_or_else(String::new, |(must, _)| format!("{must:.0}")),
        aim: targets.map_or_else(String::new, |(_, aim)| format!("{aim:.0}")),
        result: format!("{:.0}, {share:.2} x T4; p99 {p99s}", measured.median()),
        met: targets.map(|(must, _)| measured.median() >= must),
        note: (clients == 8 && matches!(write, Write::Draft)).then(|| {
            format!(
                "Each client sends its next request when it has the `201` of the last one, for {SECONDS} s after {} s of \
                 warm-up. One process of each service, 12 partitions per topic, the servers and the clients share the \
                 cores. Registrations: {MEMBERS} members register for one event, then for the next one, so nearly all \
                 requests in progress are for one event. Mails go to a server that accepts and forgets them.",
                WARM_UP.as_secs()
            )
        }),
        measured,
        against: Some(naive.clone()),
    }
}
