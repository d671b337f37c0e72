//! From records, positions and answers to one way: what was said, where it is, and what became of it at each subscriber.

use std::collections::{BTreeMap, HashSet};

use contracts::ProcessStatus;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Whereabouts;
use super::records::Found;
use crate::operation::{Answer, Said};
use crate::output::{counted, plain};
use crate::trace::{Trace, render};

/// A record, and what became of it.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// How many of those before led to it, one to the other.
    depth: usize,
    #[serde(flatten)]
    record: Found,
    /// By service.
    subscribers: BTreeMap<String, State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// The service's position is behind it: it took effect, or was a copy, or is none of the service's business.
    Applied,
    Parked,
    DeadLettered,
    /// The service's position, when it last reported one, is not behind it.
    Ahead,
}

/// What every service says of a message. What else there is, is the service's own account.
const COMMON: [&str; 3] = ["service", "inbox", "applied"];

/// The records in the order in which one led to the other, with what is known of each at those who listen.
pub(super) fn steps(records: Vec<Found>, live: &[&ProcessStatus], answers: &[Answer]) -> Vec<Step> {
    let ids: HashSet<Uuid> = records.iter().filter_map(|record| record.message_id).collect();
    let is_root = |record: &Found| {
        record
            .causation_id
            .is_none_or(|cause| !ids.contains(&cause) || Some(cause) == record.message_id)
    };
    let mut steps = Vec::new();
    let mut left = records;
    let mut todo: Vec<(usize, Found)> = Vec::new();
    while !left.is_empty() || !todo.is_empty() {
        let Some((depth, record)) = todo.pop() else {
            // A cycle has no root: then the oldest is as good as any.
            let first = left.iter().position(is_root).unwrap_or(0);
            todo.push((0, left.remove(first)));
            continue;
        };
        // A copy leads to nothing that the first one has not led to.
        let (mut caused, others): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|other| record.message_id.is_some() && other.causation_id == record.message_id);
        left = others;
        caused.reverse();
        todo.extend(caused.into_iter().map(|record| (depth + 1, record)));
        steps.push(Step {
            depth,
            subscribers: subscribers(&record, live, answers),
            record,
        });
    }
    steps
}

fn subscribers(record: &Found, live: &[&ProcessStatus], answers: &[Answer]) -> BTreeMap<String, State> {
    let mut positions: BTreeMap<&str, i64> = BTreeMap::new();
    for status in live {
        let of_record = status
            .assignments
            .iter()
            .filter(|assignment| assignment.topic == record.topic && assignment.partition == record.partition);
        for assignment in of_record {
            // A partition that just moved is named twice; positions only grow.
            let position = positions.entry(&status.service).or_insert(assignment.position);
            *position = (*position).max(assignment.position);
        }
    }
    let state = |service: &str, position: i64| {
        let result = answers
            .iter()
            .find(|answer| answer.service == service)
            .map(|answer| &answer.result);
        let holds = |name: &str| result.is_some_and(|result| names(&result[name], record));
        match () {
            () if holds("parked") => State::Parked,
            () if holds("dead_letters") => State::DeadLettered,
            () if position > record.offset => State::Applied,
            () => State::Ahead,
        }
    };
    positions
        .into_iter()
        .map(|(service, position)| (service.to_owned(), state(service, position)))
        .collect()
}

/// Whether one of these rows names the record's message.
fn names(rows: &Value, record: &Found) -> bool {
    let Some(id) = record.message_id.map(|id| id.to_string()) else {
        return false;
    };
    let is_named = |row: &Value| {
        row.as_object()
            .is_some_and(|row| row.values().any(|value| value.as_str() == Some(&id)))
    };
    rows.as_array().is_some_and(|rows| rows.iter().any(is_named))
}

/// Whether a service knows anything of what it was asked for.
pub(super) fn says_something(result: &Value) -> bool {
    match result {
        Value::Null => false,
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name != "service" && says_something(value)),
        Value::Array(rows) => !rows.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

pub(super) fn text(whereabouts: &Whereabouts, trace: Option<&Trace>, width: usize) -> String {
    let id = whereabouts.id;
    let records = &whereabouts.records;
    let mut parts = vec![match (&whereabouts.since, records.as_slice()) {
        (None, _) => format!("{id} holds no time; --since says from when on to look for records"),
        (Some(since), []) => {
            format!("no record of {id} was written from {since} on; --since and --within look elsewhere")
        }
        (Some(_), records) => format!("{id}: {}", counted(records.len(), "record")),
    }];
    if !records.is_empty() {
        parts.push(records.iter().map(step).collect::<Vec<_>>().join("\n"));
    }
    parts.extend(whereabouts.services.iter().filter_map(account));
    match (trace, whereabouts.traces.as_slice()) {
        (_, []) => {}
        (Some(trace), [_, others @ ..]) => {
            parts.push(render(trace, width));
            parts.extend(
                others
                    .iter()
                    .map(|other| format!("`rollcall trace {other}` is another trace of it")),
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
    let says = record.source.rsplit('/').next().unwrap_or_default();
    let Found {
        topic,
        partition,
        offset,
        time,
        ..
    } = record;
    let mut text = format!("{indent}{branch}{name}{sequence}, by {says}: {topic}[{partition}]@{offset}, {time}");
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

/// What a service has to say beyond that it has applied it.
fn account(answer: &Answer) -> Option<String> {
    let fields = match (&answer.outcome, &answer.result) {
        (Said::Accepted, Value::Object(fields)) => fields,
        (Said::Accepted, Value::Null) => return None,
        (Said::Accepted, other) => return Some(format!("{}\n{}", answer.service, indented(&plain(other)))),
        _ => return Some(answer.refusal()),
    };
    let own: Map<String, Value> = fields
        .iter()
        .filter(|(name, value)| !COMMON.contains(&name.as_str()) && says_something(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    match own.is_empty() {
        true => None,
        false => Some(format!("{}\n{}", answer.service, indented(&plain(&Value::Object(own))))),
    }
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
