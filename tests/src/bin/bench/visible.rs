//! P5 and P5h: the time from the request until the read model shows its effect.

use std::time::Duration;

use anyhow::Result;
use rollcall::servers::Servers;

use crate::capacity::drafts;
use crate::latency::{K99, raw_p99};
use crate::load::open_loop;
use crate::report::{Row, Samples, today};
use crate::site::on_a_site;

const RATE: u32 = 100;
/// Clients of the closed loop that determines the capacity.
const CLIENTS: usize = 128;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(8);

/// P5: at a fixed rate.
pub(crate) async fn at_fixed_rate(servers: &Servers, repeats: usize) -> Result<Row> {
    measure(servers, repeats, Some(RATE)).await
}

/// P5h: at half of the capacity.
pub(crate) async fn at_half_load(servers: &Servers, repeats: usize) -> Result<Row> {
    measure(servers, repeats, None).await
}

async fn measure(servers: &Servers, repeats: usize, fixed: Option<u32>) -> Result<Row> {
    let (id, must, aim) = if fixed.is_some() {
        ("P5", 25.0, 10.0)
    } else {
        ("P5h", 100.0, 50.0)
    };
    let mut measured = Samples::new("ms");
    let mut against = Samples::new("ms");
    let mut medians = Samples::new("ms");
    let rate = on_a_site(servers, &[], async |site| {
        let rate = match fixed {
            Some(rate) => rate,
            None => (drafts(site, CLIENTS).await?.per_second() / 2.0).max(1.0) as u32,
        };
        let draft = site.drafts();
        for repeat in 0..=repeats {
            let raw = raw_p99(servers, rate).await?;
            open_loop(site.address(), rate, WARM_UP, 201, &draft).await?;
            let load = open_loop(site.address(), rate, MEASURED, 201, &draft).await?;
            let (p50, p99) = (load.percentile(50), load.percentile(99));
            if repeat > 0 {
                against.push(raw);
                measured.push(p99);
                medians.push(p50);
            }
            eprintln!(
                "{id} repeat {repeat}: {rate}/s, p50 {p50:.1} ms, p99 {p99:.1} ms, raw p99 {raw:.1} ms, {} other responses",
                load.others
            );
        }
        Ok(rate)
    })
    .await?;
    let over = Samples::difference(&measured, &against).median();
    Ok(Row {
        id: id.to_owned(),
        command: id.to_owned(),
        measured_on: today(),
        what: if fixed.is_some() {
            format!("POST → visible in the read model, p99, at {rate} per second")
        } else {
            format!("the same at half of the capacity with {CLIENTS} clients: {rate} per second")
        },
        against: Some(against),
        against_what: K99.to_owned(),
        must: format!("K99 + {must} ms"),
        aim: format!("K99 + {aim} ms"),
        result: format!("K99 {over:+.1} ms; median {medians}"),
        met: Some(over <= must),
        note: fixed.map(|_| {
            format!(
                "Measured until `POST /v1/events` returns `201`, because the gateway's read model then shows the event, for \
                 {} s at a fixed rate. The time of a request begins when the request is due, even if the load generator is \
                 late. All six services run as processes on the same cores.",
                MEASURED.as_secs()
            )
        }),
        measured,
    })
}
