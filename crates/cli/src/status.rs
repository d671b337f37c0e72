//! `rollcall status`: all processes, as reported on `ops.status`.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use contracts::{ProcessStatus, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::output::{Output, human, human_millis, table};
use crate::processes::{Processes, Sources, is_live, total_lag};
use crate::{Error, Outcome};

/// Age of the last report after which a process is left out, because the topic keeps the reports of ended processes.
const HIDDEN_AFTER: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    sources: Sources,
    /// Repeat until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Seconds between two repetitions
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..), requires = "watch")]
    every: u64,
    /// Include processes whose last report is more than an hour old
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Serialize)]
struct Summary {
    processes: Vec<Row>,
    /// Services without a ready process.
    down: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    service: String,
    instance: Uuid,
    version: String,
    state: State,
    started_at: String,
    reported_at: String,
    /// Sum over all partitions of the process.
    lag_messages: i64,
    /// Age of the oldest message that is not processed yet, in milliseconds.
    lag_ms: i64,
    outbox_rows: i64,
    outbox_oldest_age_ms: i64,
    /// Number for the whole service, like the two fields below: all its processes report the same.
    parked_keys: i64,
    oldest_gap_age_ms: i64,
    dead_letters: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ready,
    NotReady,
    /// The process has stopped reporting.
    Stale,
}

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<Outcome, Error> {
    let mut processes = Processes::open(&arguments.sources)?;
    loop {
        processes.refresh().await?;
        let now = Timestamp::now();
        let summary = summarize(&processes.all(), now, arguments.all);
        if !arguments.watch {
            output.print(&summary, || text(&summary, now));
            return Ok(outcome(&summary));
        }
        if !output.json && std::io::stdout().is_terminal() {
            // Move the cursor home and clear below it, which flickers less than clearing the screen.
            let _ = write!(std::io::stdout(), "\x1b[H\x1b[J");
        }
        output.print_compact(&summary, || text(&summary, now));
        tokio::time::sleep(Duration::from_secs(arguments.every)).await;
    }
}

fn outcome(summary: &Summary) -> Outcome {
    Outcome::positive_if(summary.down.is_empty() && !summary.processes.is_empty())
}

fn summarize(all: &[&ProcessStatus], now: Timestamp, include_stopped: bool) -> Summary {
    let mut down: Vec<String> = all.iter().map(|status| status.service.clone()).collect();
    down.dedup();
    down.retain(|service| {
        !all.iter()
            .any(|other| other.service == *service && state(other, now) == State::Ready)
    });
    let is_shown = |status: &ProcessStatus| {
        include_stopped
            || now.since(status.reported_at) < HIDDEN_AFTER
            // The newest report of each service is always shown, so a stopped service stays visible.
            || !all.iter().any(|other| other.service == status.service && other.reported_at > status.reported_at)
    };
    Summary {
        processes: all
            .iter()
            .filter(|status| is_shown(status))
            .map(|status| row(status, now))
            .collect(),
        down,
    }
}

fn state(status: &ProcessStatus, now: Timestamp) -> State {
    match (is_live(status, now), status.ready) {
        (false, _) => State::Stale,
        (true, true) => State::Ready,
        (true, false) => State::NotReady,
    }
}

fn row(status: &ProcessStatus, now: Timestamp) -> Row {
    let assignments = &status.assignments;
    Row {
        service: status.service.clone(),
        instance: status.instance,
        version: status.version.clone(),
        state: state(status, now),
        started_at: status.started_at.to_string(),
        reported_at: status.reported_at.to_string(),
        lag_messages: total_lag(assignments.iter().map(|assignment| assignment.lag)),
        lag_ms: assignments
            .iter()
            .filter_map(|assignment| assignment.lag_ms)
            .max()
            .unwrap_or(0),
        outbox_rows: status.outbox_rows,
        outbox_oldest_age_ms: status.outbox_oldest_age_ms,
        parked_keys: status.parked_keys,
        oldest_gap_age_ms: status.oldest_gap_age_ms,
        dead_letters: status.dead_letters,
    }
}

fn text(summary: &Summary, now: Timestamp) -> String {
    if summary.processes.is_empty() {
        return "no process has reported; check that services are running with this topic prefix".to_owned();
    }
    let ago = |time: &str| Timestamp::parse(time).map_or_else(|_| time.to_owned(), |time| human(now.since(time)));
    let rows = summary.processes.iter().map(|row| {
        let state = match row.state {
            State::Ready => "ready".to_owned(),
            State::NotReady => "not ready".to_owned(),
            State::Stale => format!("stale: last report {} ago", ago(&row.reported_at)),
        };
        vec![
            row.service.clone(),
            short_id(row.instance),
            row.version.clone(),
            ago(&row.started_at),
            row.lag_messages.to_string(),
            human_millis(row.lag_ms),
            row.outbox_rows.to_string(),
            human_millis(row.outbox_oldest_age_ms),
            row.parked_keys.to_string(),
            human_millis(row.oldest_gap_age_ms),
            row.dead_letters.to_string(),
            state,
        ]
    });
    let header = [
        "SERVICE", "PROCESS", "VERSION", "AGE", "LAG", "BEHIND", "OUTBOX", "OLDEST", "PARKED", "GAP", "DEAD", "STATE",
    ];
    let mut text = table(&header, &header[3..11], rows);
    if !summary.down.is_empty() {
        text.push_str(&format!(
            "\n\nservices without a ready process: {}",
            summary.down.join(", ")
        ));
    }
    text
}

/// Returns the last part of an id, which identifies a process and fits into a table.
fn short_id(process: Uuid) -> String {
    let id = process.to_string();
    id.rsplit('-').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-03-01T12:00:00Z").expect("a time")
    }

    fn reported_ago(service: &str, ready: bool, seconds: u64) -> ProcessStatus {
        let reported_at = now() - Duration::from_secs(seconds);
        ProcessStatus {
            service: service.to_owned(),
            instance: Uuid::now_v7(),
            version: "1.0.0".to_owned(),
            started_at: reported_at,
            reported_at,
            ready,
            outbox_rows: 0,
            outbox_oldest_age_ms: 0,
            assignments: Vec::new(),
            parked_keys: 0,
            oldest_gap_age_ms: 0,
            dead_letters: 0,
        }
    }

    #[test]
    fn a_service_is_down_if_no_live_process_is_ready() {
        let (fresh, stale, busy) = (
            reported_ago("a", true, 1),
            reported_ago("a", true, 60),
            reported_ago("b", false, 1),
        );
        let summary = summarize(&[&fresh, &stale, &busy], now(), false);
        assert_eq!(summary.down, ["b"]);
        let states: Vec<_> = summary.processes.iter().map(|row| row.state).collect();
        assert_eq!(states, [State::Ready, State::Stale, State::NotReady]);
        assert_eq!(outcome(&summary), Outcome::Negative);
    }

    #[test]
    fn old_reports_are_left_out_except_the_newest_of_a_service() {
        let (replaced, current) = (reported_ago("a", true, 90_000), reported_ago("a", true, 1));
        let (older, last) = (reported_ago("b", true, 95_000), reported_ago("b", true, 90_000));
        let all = [&replaced, &current, &older, &last];
        let shown = |include_stopped| {
            let summary = summarize(&all, now(), include_stopped);
            summary.processes.iter().map(|row| row.instance).collect::<Vec<_>>()
        };
        assert_eq!(shown(false), [current.instance, last.instance]);
        assert_eq!(shown(true).len(), 4);
    }

    #[test]
    fn a_hostile_lag_is_shown() {
        let assignment = |partition, lag| contracts::Assignment {
            topic: "events".to_owned(),
            partition,
            position: i64::MIN,
            lag,
            lag_ms: Some(lag),
        };
        let mut large = reported_ago("a", true, 1);
        large.assignments = vec![assignment(0, i64::MAX), assignment(1, i64::MAX)];
        let mut small = reported_ago("b", true, 1);
        small.assignments = vec![assignment(0, i64::MIN), assignment(1, i64::MIN)];
        let summary = summarize(&[&large, &small], now(), false);
        let lags: Vec<_> = summary.processes.iter().map(|row| row.lag_messages).collect();
        assert_eq!(lags, [i64::MAX, 0]);
        assert!(text(&summary, now()).contains(&i64::MAX.to_string()));
    }

    #[test]
    fn the_outcome_is_negative_if_no_process_has_reported() {
        assert_eq!(outcome(&summarize(&[], now(), false)), Outcome::Negative);
    }
}
