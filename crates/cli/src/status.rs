//! `rollcall status`: every process, from `ops.status`.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use contracts::{ProcessStatus, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::output::{Output, human, human_millis, table};
use crate::processes::{Processes, Sources, is_live};
use crate::{Error, Outcome};

/// Processes that have been silent for longer are left out: a status topic remembers every process there ever was.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    sources: Sources,
    /// Look again and again, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..), requires = "watch")]
    every: u64,
    /// Also processes that have been silent for more than an hour
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    processes: Vec<Row>,
    /// Services of which no process is ready.
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
    /// Over all of its partitions.
    lag_messages: i64,
    /// Of the oldest message that waits.
    lag_ms: i64,
    outbox_rows: i64,
    outbox_oldest_age_ms: i64,
    /// The service's, as are the two below: every process of it says the same.
    parked_keys: i64,
    oldest_gap_age_ms: i64,
    dead_letters: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ready,
    NotReady,
    /// It has stopped reporting.
    Stale,
}

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<Outcome, Error> {
    let mut processes = Processes::open(&arguments.sources)?;
    loop {
        processes.refresh().await?;
        let now = Timestamp::now();
        let answer = answer(&processes.all(), now, arguments.all);
        if !arguments.watch {
            output.answer(&answer, || text(&answer, now));
            return Ok(outcome(&answer));
        }
        if !output.json && std::io::stdout().is_terminal() {
            // Home, and clear what is below: less flicker than clearing first.
            let _ = write!(std::io::stdout(), "\x1b[H\x1b[J");
        }
        output.one_of_many(&answer, || text(&answer, now));
        tokio::time::sleep(Duration::from_secs(arguments.every)).await;
    }
}

fn outcome(answer: &Answer) -> Outcome {
    match answer.down.is_empty() && !answer.processes.is_empty() {
        true => Outcome::Yes,
        false => Outcome::No,
    }
}

fn answer(all: &[&ProcessStatus], now: Timestamp, forgotten_too: bool) -> Answer {
    let mut down: Vec<String> = all.iter().map(|status| status.service.clone()).collect();
    down.dedup();
    down.retain(|service| {
        !all.iter()
            .any(|other| other.service == *service && state(other, now) == State::Ready)
    });
    let is_shown = |status: &ProcessStatus| {
        forgotten_too
            || now.since(status.reported_at) < FORGOTTEN_AFTER
            // A service that is down altogether is never out of sight.
            || !all.iter().any(|other| other.service == status.service && other.reported_at > status.reported_at)
    };
    Answer {
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
        lag_messages: assignments.iter().map(|assignment| assignment.lag).sum(),
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

fn text(answer: &Answer, now: Timestamp) -> String {
    if answer.processes.is_empty() {
        return "no process has ever reported; are the services running, with this topic prefix?".to_owned();
    }
    let ago = |time: &str| Timestamp::parse(time).map_or_else(|_| time.to_owned(), |time| human(now.since(time)));
    let rows = answer.processes.iter().map(|row| {
        let state = match row.state {
            State::Ready => "ready".to_owned(),
            State::NotReady => "not ready".to_owned(),
            State::Stale => format!("stale: silent for {}", ago(&row.reported_at)),
        };
        vec![
            row.service.clone(),
            short(row.instance),
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
    if !answer.down.is_empty() {
        text.push_str(&format!("\n\nno process is ready of: {}", answer.down.join(", ")));
    }
    text
}

/// The end of an id is as good as all of it to tell processes apart, and a line has no room for more.
fn short(process: Uuid) -> String {
    let id = process.to_string();
    id.rsplit('-').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-03-01T12:00:00Z").expect("a time")
    }

    fn silent_for(service: &str, ready: bool, seconds: u64) -> ProcessStatus {
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
    fn a_service_is_down_without_a_ready_process_that_still_reports() {
        let (fresh, stale, busy) = (
            silent_for("a", true, 1),
            silent_for("a", true, 60),
            silent_for("b", false, 1),
        );
        let answer = answer(&[&fresh, &stale, &busy], now(), false);
        assert_eq!(answer.down, ["b"]);
        let states: Vec<_> = answer.processes.iter().map(|row| row.state).collect();
        assert_eq!(states, [State::Ready, State::Stale, State::NotReady]);
        assert_eq!(outcome(&answer), Outcome::No);
    }

    #[test]
    fn long_silent_processes_are_left_out_but_the_last_one_of_a_service() {
        let (replaced, current) = (silent_for("a", true, 90_000), silent_for("a", true, 1));
        let (older, last) = (silent_for("b", true, 95_000), silent_for("b", true, 90_000));
        let all = [&replaced, &current, &older, &last];
        let shown = |forgotten_too| {
            let answer = answer(&all, now(), forgotten_too);
            answer.processes.iter().map(|row| row.instance).collect::<Vec<_>>()
        };
        assert_eq!(shown(false), [current.instance, last.instance]);
        assert_eq!(shown(true).len(), 4);
    }

    #[test]
    fn nobody_reporting_is_a_no() {
        assert_eq!(outcome(&answer(&[], now(), false)), Outcome::No);
    }
}
