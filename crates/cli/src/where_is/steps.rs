//! Combines records, positions and replies: each message, its position in the causal tree, and its state at each subscriber.

use std::collections::{BTreeMap, HashSet};

use contracts::ProcessStatus;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Whereabouts;
use super::records::FoundRecord;
use crate::ops::{OpsReply, ReplyOutcome};
use crate::output::{counted, indented, plain};
use crate::trace::{Trace, render};

/// A record in the causal tree.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// Number of its ancestors in the tree.
    depth: usize,
    #[serde(flatten)]
    record: FoundRecord,
    /// State of the record at each subscribed service.
    subscribers: BTreeMap<String, State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// The service's position is after the record: it was applied, was a duplicate, or does not concern the service.
    Applied,
    Parked,
    DeadLettered,
    /// The service's last reported position is not after the record.
    Ahead,
}

/// Fields that every service returns. The text output shows only the other, service-specific fields.
const COMMON_FIELDS: [&str; 3] = ["service", "inbox", "applied"];

/// Returns the records in causal order, with the state of each at its subscribers.
pub(super) fn steps(records: Vec<FoundRecord>, live: &[&ProcessStatus], replies: &[OpsReply]) -> Vec<Step> {
    let ids: HashSet<Uuid> = records.iter().filter_map(|record| record.message_id).collect();
    let is_root = |record: &FoundRecord| {
        record
            .causation_id
            .is_none_or(|cause| !ids.contains(&cause) || Some(cause) == record.message_id)
    };
    let mut steps = Vec::new();
    let mut left = records;
    let mut todo: Vec<(usize, FoundRecord)> = Vec::new();
    while !left.is_empty() || !todo.is_empty() {
        let Some((depth, record)) = todo.pop() else {
            // A cycle has no root, so it begins with its oldest record.
            let first = left.iter().position(is_root).unwrap_or(0);
            todo.push((0, left.remove(first)));
            continue;
        };
        // A duplicate record gets no children, because they already follow the first one.
        let (mut caused, others): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|other| record.message_id.is_some() && other.causation_id == record.message_id);
        left = others;
        caused.reverse();
        todo.extend(caused.into_iter().map(|record| (depth + 1, record)));
        steps.push(Step {
            depth,
            subscribers: subscribers(&record, live, replies),
            record,
        });
    }
    steps
}

fn subscribers(record: &FoundRecord, live: &[&ProcessStatus], replies: &[OpsReply]) -> BTreeMap<String, State> {
    let mut positions: BTreeMap<&str, i64> = BTreeMap::new();
    for status in live {
        let of_record = status
            .assignments
            .iter()
            .filter(|assignment| assignment.topic == record.topic && assignment.partition == record.partition);
        for assignment in of_record {
            // Two processes report a partition that has just moved. The greater position is newer.
            let position = positions.entry(&status.service).or_insert(assignment.position);
            *position = (*position).max(assignment.position);
        }
    }
    let state = |service: &str, position: i64| {
        let result = replies
            .iter()
            .find(|reply| reply.service == service)
            .map(|reply| &reply.result);
        let lists = |name: &str| result.is_some_and(|result| contains_message(&result[name], record));
        if lists("parked") {
            State::Parked
        } else if lists("dead_letters") {
            State::DeadLettered
        } else if position > record.offset {
            State::Applied
        } else {
            State::Ahead
        }
    };
    positions
        .into_iter()
        .map(|(service, position)| (service.to_owned(), state(service, position)))
        .collect()
}

/// Returns `true` if one of the rows contains the id of the record's message.
fn contains_message(rows: &Value, record: &FoundRecord) -> bool {
    let Some(id) = record.message_id.map(|id| id.to_string()) else {
        return false;
    };
    let contains_id = |row: &Value| {
        row.as_object()
            .is_some_and(|row| row.values().any(|value| value.as_str() == Some(&id)))
    };
    rows.as_array().is_some_and(|rows| rows.iter().any(contains_id))
}

/// Returns `true` if a service's result contains any information about the message.
pub(super) fn has_content(result: &Value) -> bool {
    match result {
        Value::Null => false,
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name != "service" && has_content(value)),
        Value::Array(rows) => !rows.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

pub(super) fn text(whereabouts: &Whereabouts, trace: Option<&Trace>, width: usize) -> String {
    let id = whereabouts.id;
    let records = &whereabouts.records;
    let mut parts = vec![match (&whereabouts.since, records.as_slice()) {
        (None, _) => format!("{id} contains no time; set the start of the search with --since"),
        (Some(since), []) => {
            format!("no record of {id} found from {since} on; search another time range with --since and --within")
        }
        (Some(_), records) => format!("{id}: {}", counted(records.len(), "record")),
    }];
    if !records.is_empty() {
        parts.push(records.iter().map(step).collect::<Vec<_>>().join("\n"));
    }
    parts.extend(whereabouts.services.iter().filter_map(details));
    match (trace, whereabouts.traces.as_slice()) {
        (_, []) => {}
        (Some(trace), [_, others @ ..]) => {
            parts.push(render(trace, width));
            parts.extend(
                others
                    .iter()
                    .map(|other| format!("another trace: `rollcall trace {other}`")),
            );
        }
        (None, traces) => parts.push(
            traces
                .iter()
                .map(|id| format!("rollcall trace {id}"))
                .collect::<Vec<_>>()
                .join("\n"),
        ),
    }
    parts.join("\n\n")
}

fn step(step: &Step) -> String {
    let Step {
        depth,
        record,
        subscribers,
    } = step;
    let indent = "   ".repeat(*depth);
    let branch = if *depth == 0 { "" } else { "└─ " };
    let indent = indent.strip_prefix("   ").unwrap_or_default();
    let name = record.type_name.rsplit('.').next().unwrap_or_default();
    let sequence = record
        .sequence
        .map(|sequence| format!(" #{sequence}"))
        .unwrap_or_default();
    let sender = record.source.rsplit('/').next().unwrap_or_default();
    let FoundRecord {
        topic,
        partition,
        offset,
        time,
        ..
    } = record;
    let mut text = format!("{indent}{branch}{name}{sequence}, by {sender}: {topic}[{partition}]@{offset}, {time}");
    let below = " ".repeat(indent.len() + branch.chars().count() + 2);
    if let Some(id) = record.message_id {
        text.push_str(&format!("\n{below}{id}"));
    }
    if !subscribers.is_empty() {
        let states = subscribers.iter().map(|(service, state)| {
            let state = match state {
                State::Applied => "applied",
                State::Parked => "PARKED",
                State::DeadLettered => "DEAD LETTER",
                State::Ahead => "not yet",
            };
            format!("{service}: {state}")
        });
        text.push_str(&format!("\n{below}→ {}", states.collect::<Vec<_>>().join(", ")));
    }
    text
}

/// Formats the service-specific fields of a reply. Returns `None` if there are none.
fn details(reply: &OpsReply) -> Option<String> {
    let fields = match (&reply.outcome, &reply.result) {
        (ReplyOutcome::Accepted, Value::Object(fields)) => fields,
        (ReplyOutcome::Accepted, Value::Null) => return None,
        (ReplyOutcome::Accepted, other) => return Some(format!("{}\n{}", reply.service, indented(&plain(other)))),
        _ => return Some(reply.describe_failure()),
    };
    let specific: Map<String, Value> = fields
        .iter()
        .filter(|(name, value)| !COMMON_FIELDS.contains(&name.as_str()) && has_content(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if specific.is_empty() {
        return None;
    }
    let text = indented(&plain(&Value::Object(specific)));
    Some(format!("{}\n{text}", reply.service))
}
