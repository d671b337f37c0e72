//! What happened, and on whose behalf: a question to the audit service, over Kafka.

mod checkpoints;
mod proof;
mod verification;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use contracts::{AuditQuery, FindAuditEntries};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::extract::{Asked, asked_wait, limit};
use super::form::Form;
use super::principal::Auditor;
use super::question::{AnswerHeaders, WAIT, ask};
use crate::app::App;
use crate::error::Error;
use crate::store::operations::Kind;

pub(super) use checkpoints::*;
pub(super) use proof::*;
pub(super) use verification::*;

/// What to look for; what is left out does not narrow the search.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Question {
    /// Key of the records: a user, an event.
    #[param(format = Uuid)]
    aggregate_id: Option<String>,
    /// The operation that they belong to.
    #[param(format = Uuid)]
    correlation_id: Option<String>,
    /// On whose behalf: `user:` and an id (also what that person did as an admin), `admin:` and an id, or `service:`
    /// and a name.
    #[param(pattern = "^((user|admin):[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|service:[a-z-]{1,50})$")]
    actor: Option<String>,
    /// Full name of the records.
    #[param(example = "rollcall.users.UserCreated", pattern = "^[A-Za-z0-9_.]{1,200}$")]
    message_type: Option<String>,
    /// Inclusive.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Exclusive.
    #[param(format = DateTime)]
    until: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Entries on a page, from 1 to 200; else 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// A page of the audit log.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntries)]
pub(super) struct Entries {
    /// As the audit service keeps them: topic, partition, offset, time, actor, correlation, causation, content.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What the audit service answers.
#[derive(Deserialize)]
struct Answer {
    entries: Vec<Value>,
    #[serde(default)]
    next_cursor: Option<String>,
}

fn parse(question: Question) -> Result<FindAuditEntries, Error> {
    let limit = limit(question.limit)?;
    let mut form = Form::default();
    let aggregate_id = question.aggregate_id.map(|text| form.uuid("aggregate_id", &text));
    let correlation_id = question.correlation_id.map(|text| form.uuid("correlation_id", &text));
    if let Some(actor) = &question.actor {
        form.check(
            is_actor(actor),
            "actor",
            "malformed",
            "`user:` or `admin:` and an id, or `service:` and a name.",
        );
    }
    if let Some(name) = &question.message_type {
        form.check(is_type(name), "message_type", "malformed", "The full name of a record.");
    }
    let from = question.from.map(|text| form.time("from", &text));
    let until = question.until.map(|text| form.time("until", &text));
    form.finish()?;
    Ok(FindAuditEntries {
        aggregate_id,
        correlation_id,
        actor: question.actor,
        message_type: question.message_type,
        from,
        until,
        cursor: question.cursor,
        limit: i32::from(limit),
    })
}

fn is_actor(text: &str) -> bool {
    match text.split_once(':') {
        Some(("user" | "admin", id)) => id.len() == 36 && Uuid::try_parse(id).is_ok(),
        Some(("service", name)) => {
            (1..=50).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        }
        _ => false,
    }
}

fn is_type(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
}

/// Search the audit trail.
#[utoipa::path(
    get, path = "/v1/audit/entries", tag = "audit", operation_id = "findAuditEntries",
    params(Question, AnswerHeaders),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Entries),
    ),
)]
pub(super) async fn entries(
    State(app): State<App>,
    auditor: Auditor,
    Asked(question): Asked<Question>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let wait = asked_wait(&headers).unwrap_or(WAIT);
    let answer = ask::<AuditQuery>(&app, &auditor, Kind::FindAuditEntries, parse(question)?.into(), wait).await?;
    let answer: Answer = serde_json::from_str(&answer).map_err(Error::BadAnswer)?;
    let entries = Entries {
        items: answer.entries,
        next: answer.next_cursor,
    };
    Ok(Json(entries).into_response())
}
