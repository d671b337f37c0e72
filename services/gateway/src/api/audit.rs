//! What happened, and on whose behalf: a question to the audit service, over Kafka.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use contracts::{AuditQuery, FindAuditEntries};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::answer::refusal;
use super::extract::{Asked, asked_wait, limit};
use super::form::Form;
use super::principal::Auditor;
use crate::app::App;
use crate::error::Error;
use crate::operations::Intent;
use crate::problem;
use crate::store::operations::{Kind, Status};

/// How long an answer is waited for if the client does not say: it is a read, and there is no use in a `202`.
const WAIT: Duration = Duration::from_secs(10);

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
    /// On whose behalf: `user:` and an id, or `service:` and a name.
    actor: Option<String>,
    /// Full name of the records.
    #[param(example = "rollcall.users.UserCreated")]
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

/// Search the audit trail.
#[utoipa::path(
    get, path = "/v1/audit/entries", tag = "audit", operation_id = "findAuditEntries",
    params(Question, ("Prefer" = Option<String>, Header, description = "`wait=n`: seconds to wait for the answer, at most 25; else 10")),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Entries),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn entries(
    State(app): State<App>,
    auditor: Auditor,
    Asked(question): Asked<Question>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let id = Uuid::now_v7();
    let intent = Intent::<AuditQuery> {
        id,
        kind: Kind::FindAuditEntries,
        principal: Some(auditor.id),
        key: id,
        command: parse(question)?.into(),
        resource_id: id,
        expected_version: None,
        password_hash: None,
        idempotency: None,
        wait: asked_wait(&headers).unwrap_or(WAIT),
    };
    let operation = app.operations().perform(intent).await?;
    let id = operation.id;
    match operation.status {
        Status::Pending => Err(Error::NoAnswer { operation: id }),
        Status::Succeeded => {
            let answer = operation.result.unwrap_or_default();
            let answer: Answer = serde_json::from_str(&answer).map_err(Error::BadAnswer)?;
            let entries = Entries {
                items: answer.entries,
                next: answer.next_cursor,
            };
            Ok(Json(entries).into_response())
        }
        Status::Rejected => Err(Error::Rejected {
            operation: id,
            refusal: refusal(operation),
        }),
        Status::Failed => Err(Error::Failed {
            operation: id,
            refusal: refusal(operation),
        }),
    }
}
