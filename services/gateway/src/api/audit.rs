//! The audit log: every route queries the audit service over Kafka.

mod checkpoints;
mod proof;
mod verification;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use contracts::{AuditQuery, FindAuditEntries};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::extract::{QueryParams, limit};
use super::form::Form;
use super::principal::Auditor;
use super::query::{QueryHeaders, query, query_wait};
use crate::app::App;
use crate::error::Error;
use crate::principal::Principal;
use crate::store::operations::Kind;

pub(super) use checkpoints::*;
pub(super) use proof::*;
pub(super) use verification::*;

/// Filters of the search. An omitted filter does not narrow the search.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EntrySearch {
    /// Key of the records: the id of a user or an event, for example.
    #[param(format = Uuid)]
    aggregate_id: Option<String>,
    /// Id of the operation that the records belong to.
    #[param(format = Uuid)]
    correlation_id: Option<String>,
    /// Actor of the records: `user:` and an id (which includes the actions of this user as an admin), `admin:` and an id,
    /// or `service:` and a name.
    #[param(pattern = "^((user|admin):[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|service:[a-z-]{1,50})$")]
    actor: Option<String>,
    /// Full name of the message type.
    #[param(example = "rollcall.users.UserCreated", pattern = "^[A-Za-z0-9_.]{1,200}$")]
    message_type: Option<String>,
    /// Earliest time, inclusive.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Latest time, exclusive.
    #[param(format = DateTime)]
    until: Option<String>,
    /// `next` of the previous page.
    cursor: Option<String>,
    /// Maximum number of entries on the page, from 1 to 200. The default is 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// A page of the audit log.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntries)]
pub(super) struct Entries {
    /// The entries with topic, partition, offset, time, actor, correlation, causation and content.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The result of the audit service.
#[derive(Deserialize)]
struct FoundEntries {
    entries: Vec<Value>,
    #[serde(default)]
    next_cursor: Option<String>,
}

fn parse(search: EntrySearch) -> Result<FindAuditEntries, Error> {
    let limit = limit(search.limit)?;
    let mut form = Form::default();
    let aggregate_id = search.aggregate_id.map(|text| form.uuid("aggregate_id", &text));
    let correlation_id = search.correlation_id.map(|text| form.uuid("correlation_id", &text));
    if let Some(actor) = &search.actor {
        form.check(
            is_actor(actor),
            "actor",
            "malformed",
            "Must be `user:` or `admin:` followed by an id, or `service:` followed by a name.",
        );
    }
    if let Some(name) = &search.message_type {
        form.check(
            is_message_type(name),
            "message_type",
            "malformed",
            "Must be the full name of a message type, for example rollcall.users.UserCreated.",
        );
    }
    let from = search.from.map(|text| form.time("from", &text));
    let until = search.until.map(|text| form.time("until", &text));
    form.finish()?;
    Ok(FindAuditEntries {
        aggregate_id,
        correlation_id,
        actor: search.actor,
        message_type: search.message_type,
        from,
        until,
        cursor: search.cursor,
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

fn is_message_type(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
}

/// Search the audit log.
#[utoipa::path(
    get, path = "/v1/audit/entries", tag = "audit", operation_id = "findAuditEntries",
    params(EntrySearch, QueryHeaders),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Entries),
    ),
)]
pub(super) async fn find_entries(
    State(app): State<App>,
    auditor: Auditor,
    QueryParams(search): QueryParams<EntrySearch>,
    headers: HeaderMap,
) -> Result<Json<Entries>, Error> {
    let found: FoundEntries = query_audit(&app, &auditor, &headers, Kind::FindAuditEntries, parse(search)?).await?;
    Ok(Json(Entries {
        items: found.entries,
        next: found.next_cursor,
    }))
}

/// Sends a query to the audit service and returns its result.
async fn query_audit<R: DeserializeOwned>(
    app: &App,
    auditor: &Principal,
    headers: &HeaderMap,
    kind: Kind,
    audit_query: impl Into<AuditQuery>,
) -> Result<R, Error> {
    query::<AuditQuery, R>(app, auditor, kind, audit_query, query_wait(headers)).await
}
