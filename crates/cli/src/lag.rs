//! `rollcall lag`: how far behind each service is on each partition, as reported on `ops.status`.

use std::collections::BTreeMap;

use contracts::{Assignment, ProcessStatus, Timestamp, topics};
use serde::Serialize;
use uuid::Uuid;

use crate::output::{Output, human_millis, table};
use crate::processes::{Processes, Sources, is_live, total_lag};
use crate::{Error, Outcome};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    sources: Sources,
    /// Show only this service
    #[arg(long)]
    service: Option<String>,
    /// Show only this topic (name without prefix)
    #[arg(long)]
    topic: Option<String>,
    /// Print a line for each partition instead of each topic
    #[arg(long)]
    partitions: bool,
}

/// One partition of a topic that a service consumes.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    service: String,
    topic: String,
    partition: i32,
    /// Process that consumes the partition; `None` if no process does.
    process: Option<Uuid>,
    /// Offset of the next record to apply.
    position: Option<i64>,
    lag_messages: Option<i64>,
    /// Age of the next record in milliseconds; `None` also if the position is at the end.
    lag_ms: Option<i64>,
}

pub(crate) async fn run(arguments: &Arguments, output: Output) -> Result<Outcome, Error> {
    let processes = Processes::read(&arguments.sources).await?;
    let mut rows = rows(&processes.all(), Timestamp::now());
    let wanted = |filter: &Option<String>, name: &str| filter.as_ref().is_none_or(|filter| filter == name);
    rows.retain(|row| wanted(&arguments.service, &row.service) && wanted(&arguments.topic, &row.topic));
    output.print(&serde_json::json!({ "partitions": rows }), || {
        match (rows.is_empty(), arguments.partitions) {
            (true, _) => "no process reports such partitions; see `rollcall status`".to_owned(),
            (false, true) => by_partition(&rows),
            (false, false) => by_topic(&rows),
        }
    });
    Ok(Outcome::positive_if(
        !rows.is_empty() && rows.iter().all(|row| row.process.is_some()),
    ))
}

fn rows(all: &[&ProcessStatus], now: Timestamp) -> Vec<Row> {
    let mut services: BTreeMap<&str, Vec<&ProcessStatus>> = BTreeMap::new();
    for status in all {
        services.entry(&status.service).or_default().push(status);
    }
    let mut rows = Vec::new();
    for (service, mut statuses) in services {
        // The newest last, so it wins if two processes report a partition that has just moved.
        statuses.sort_by_key(|status| status.reported_at);
        let newest = *statuses
            .last()
            .expect("each service in the map has at least one process");
        let mut live = statuses;
        live.retain(|status| is_live(status, now));
        let assigned: BTreeMap<(&str, i32), (&ProcessStatus, &Assignment)> = live
            .iter()
            .flat_map(|status| status.assignments.iter().map(move |assignment| (*status, assignment)))
            .map(|(status, assignment)| ((assignment.topic.as_str(), assignment.partition), (status, assignment)))
            .collect();
        // The topics of a stopped service are known from its last report.
        let mut consumed: Vec<&str> = if live.is_empty() {
            let assignments = newest.assignments.iter();
            assignments.map(|assignment| assignment.topic.as_str()).collect()
        } else {
            assigned.keys().map(|(topic, _)| *topic).collect()
        };
        consumed.sort_unstable();
        consumed.dedup();
        for topic in consumed {
            for partition in 0..topics::by_name(topic).map_or(0, |topic| topic.partitions) {
                let found = assigned.get(&(topic, partition));
                rows.push(Row {
                    service: service.to_owned(),
                    topic: topic.to_owned(),
                    partition,
                    process: found.map(|(status, _)| status.instance),
                    position: found.map(|(_, assignment)| assignment.position),
                    lag_messages: found.map(|(_, assignment)| assignment.lag),
                    lag_ms: found.and_then(|(_, assignment)| assignment.lag_ms),
                });
            }
        }
    }
    rows
}

fn by_partition(rows: &[Row]) -> String {
    let header = ["SERVICE", "TOPIC", "PARTITION", "POSITION", "LAG", "BEHIND", "PROCESS"];
    let number = |number: Option<i64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let rows = rows.iter().map(|row| {
        vec![
            row.service.clone(),
            row.topic.clone(),
            row.partition.to_string(),
            number(row.position),
            number(row.lag_messages),
            human_millis(row.lag_ms.unwrap_or(0)),
            row.process
                .map_or_else(|| "none".to_owned(), |process| process.to_string()),
        ]
    });
    table(&header, &["PARTITION", "POSITION", "LAG", "BEHIND"], rows)
}

fn by_topic(rows: &[Row]) -> String {
    let header = ["SERVICE", "TOPIC", "PARTITIONS", "LAG", "BEHIND", ""];
    let lines = rows
        .chunk_by(|a, b| (&a.service, &a.topic) == (&b.service, &b.topic))
        .map(|partitions| {
            let unassigned: Vec<_> = partitions
                .iter()
                .filter(|row| row.process.is_none())
                .map(|row| row.partition.to_string())
                .collect();
            vec![
                partitions[0].service.clone(),
                partitions[0].topic.clone(),
                partitions.len().to_string(),
                total_lag(partitions.iter().filter_map(|row| row.lag_messages)).to_string(),
                human_millis(partitions.iter().filter_map(|row| row.lag_ms).max().unwrap_or(0)),
                if unassigned.is_empty() {
                    String::new()
                } else {
                    format!("no process consumes {}", unassigned.join(", "))
                },
            ]
        });
    table(&header, &["PARTITIONS", "LAG", "BEHIND"], lines)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-03-01T12:00:00Z").expect("a time")
    }

    fn process(report_age: u64, partitions: &[i32]) -> ProcessStatus {
        let reported_at = now() - Duration::from_secs(report_age);
        ProcessStatus {
            service: "user".to_owned(),
            instance: Uuid::now_v7(),
            version: "1.0.0".to_owned(),
            started_at: reported_at,
            reported_at,
            ready: true,
            outbox_rows: 0,
            outbox_oldest_age_ms: 0,
            assignments: partitions
                .iter()
                .map(|partition| Assignment {
                    topic: "users.commands".to_owned(),
                    partition: *partition,
                    position: 7,
                    lag: i64::from(*partition),
                    lag_ms: Some(20),
                })
                .collect(),
            parked_keys: 0,
            oldest_gap_age_ms: 0,
            dead_letters: 0,
        }
    }

    #[test]
    fn the_newer_report_wins_for_a_moved_partition_and_unassigned_partitions_are_listed() {
        let before = process(3, &[0, 1, 2, 3, 4, 5, 6, 7]);
        let after = process(1, &[6, 7, 8, 9, 10]);
        let rows = rows(&[&before, &after], now());
        let at = |partition: usize| (rows[partition].process, rows[partition].lag_messages);
        assert_eq!(rows.len(), 12);
        assert_eq!(at(5), (Some(before.instance), Some(5)));
        assert_eq!(at(7), (Some(after.instance), Some(7)));
        assert_eq!(at(11), (None, None));
        assert!(
            by_topic(&rows).contains("no process consumes 11"),
            "{}",
            by_topic(&rows)
        );
    }

    #[test]
    fn a_hostile_lag_is_shown() {
        let mut hostile = process(1, &[0, 1]);
        for assignment in &mut hostile.assignments {
            assignment.lag = i64::MAX;
        }
        let text = by_topic(&rows(&[&hostile], now()));
        assert!(text.contains(&i64::MAX.to_string()), "{text}");
    }

    #[test]
    fn partitions_of_a_stopped_service_are_unassigned() {
        let rows = rows(&[&process(60, &[0])], now());
        assert_eq!(rows.len(), 12);
        assert!(rows.iter().all(|row| row.process.is_none()));
    }
}
