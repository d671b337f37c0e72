//! P16 and P17: the CPU time of all processes, per request and at rest.

use std::time::{Duration, Instant};

use anyhow::Result;
use rollcall::servers::Servers;

use crate::load::open_loop;
use crate::process::{self, Cpu};
use crate::report::{Row, Samples, today};
use crate::site::on_a_site;

const RATE: u32 = 100;
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(8);
/// Time after the start until the processes have nothing to do.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

/// P16: CPU milliseconds per request over all processes, at a fixed rate.
pub(crate) async fn per_request(servers: &Servers, repeats: usize) -> Result<Row> {
    let pids = process::servers()?;
    let mut ours = Samples::new("ms");
    let mut with_servers = Samples::new("ms");
    let mut detail = String::new();
    on_a_site(servers, &[], async |site| {
        let draft = site.drafts();
        open_loop(site.address(), RATE, WARM_UP, 201, &draft).await?;
        for repeat in 1..=repeats {
            let before = Cpu::now(&site.system, &pids)?;
            let load = open_loop(site.address(), RATE, MEASURED, 201, &draft).await?;
            let used = Cpu::now(&site.system, &pids)?.since(&before);
            let requests = (load.took.len() + load.others) as f64;
            let (services, rest) = (used.of_ours(), used.of_servers());
            ours.push(services.as_secs_f64() * 1e3 / requests);
            with_servers.push((services + rest).as_secs_f64() * 1e3 / requests);
            detail = used.list(requests);
            eprintln!(
                "P16 repeat {repeat}: {:.2} ms per request with the servers, ours {:.2} ms ({detail}); p99 {:.1} ms",
                with_servers.last(),
                ours.last(),
                load.percentile(99)
            );
        }
        Ok(())
    })
    .await?;
    let median = with_servers.median();
    Ok(Row {
        id: "P16".to_owned(),
        command: "P16".to_owned(),
        measured_on: today(),
        what: format!("CPU time per `POST /v1/events` at {RATE} per second, services and servers"),
        against: None,
        against_what: String::new(),
        must: "6 ms".to_owned(),
        aim: "3 ms".to_owned(),
        result: format!("{median:.1} ms, of which the services {ours}"),
        met: Some(median <= 6.0),
        note: Some(format!(
            "User and system time of the six services, of Postgres with its children, and of the other servers, from \
             `/proc/PID/stat`, for {} s after {} s of warm-up, divided by the number of requests. The load generator is not \
             included. The last repeat, in milliseconds: {detail}.",
            MEASURED.as_secs(),
            WARM_UP.as_secs()
        )),
        measured: with_servers,
    })
}

/// P17: the CPU time of six services at rest, as a share of one core.
pub(crate) async fn at_rest(servers: &Servers, repeats: usize) -> Result<Row> {
    let pids = process::servers()?;
    let mut ours = Samples::new("% of a core");
    let mut rest = Samples::new("% of a core");
    let mut detail = String::new();
    on_a_site(servers, &[], async |site| {
        tokio::time::sleep(SETTLES_WITHIN).await;
        for repeat in 1..=repeats {
            let started = Instant::now();
            let before = Cpu::now(&site.system, &pids)?;
            tokio::time::sleep(MEASURED).await;
            let used = Cpu::now(&site.system, &pids)?.since(&before);
            let elapsed = started.elapsed().as_secs_f64();
            ours.push(used.of_ours().as_secs_f64() * 100.0 / elapsed);
            rest.push(used.of_servers().as_secs_f64() * 100.0 / elapsed);
            // A list in milliseconds per second is a list in tenths of a percent.
            detail = used.list(elapsed * 10.0);
            eprintln!(
                "P17 repeat {repeat}: {:.1} % of a core; the servers {:.1} % ({detail})",
                ours.last(),
                rest.last()
            );
        }
        Ok(())
    })
    .await?;
    let median = ours.median();
    Ok(Row {
        id: "P17".to_owned(),
        command: "P17".to_owned(),
        measured_on: today(),
        what: "CPU of the six services at rest".to_owned(),
        against: None,
        against_what: String::new(),
        must: "6 %".to_owned(),
        aim: "3 %".to_owned(),
        result: format!("{median:.1} %; the servers in addition {rest}"),
        met: Some(median <= 6.0),
        note: Some(format!(
            "User and system time for {} s, from {} s after the start, one process of each service, no requests. The servers \
             have no other clients meanwhile. The last repeat, in percent of a core: {detail}.",
            MEASURED.as_secs(),
            SETTLES_WITHIN.as_secs()
        )),
        measured: ours,
    })
}
