//! What the audit log has signed.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use contracts::{AuditQuery, FindCertificates, FindCheckpoints};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::api::extract::{Asked, asked_wait, limit};
use crate::api::principal::Auditor;
use crate::api::question::{AnswerHeaders, WAIT, ask};
use crate::app::App;
use crate::error::Error;
use crate::principal::Principal;
use crate::store::operations::Kind;

/// A page of what the audit service keeps.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Turn {
    /// `next` of the page before.
    cursor: Option<String>,
    /// Items on a page, from 1 to 200; else 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// Signed checkpoints, the newest first.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Checkpoints {
    /// As the audit service signed them: heads of all trees, text, key and signature.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Delivery certificates, the newest first.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Certificates {
    /// As the audit service made them: an hour, and for each topic and producer what is missing.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct CheckpointsAnswer {
    checkpoints: Vec<Value>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct CertificatesAnswer {
    certificates: Vec<Value>,
    next_cursor: Option<String>,
}

/// The signed checkpoints of the audit log, the newest first.
#[utoipa::path(
    get, path = "/v1/audit/checkpoints", tag = "audit", operation_id = "listCheckpoints",
    params(Turn, AnswerHeaders),
    security(("bearer" = [])),
    responses((status = OK, body = Checkpoints)),
)]
pub(in crate::api) async fn checkpoints(
    State(app): State<App>,
    auditor: Auditor,
    Asked(turn): Asked<Turn>,
    headers: HeaderMap,
) -> Result<Json<Checkpoints>, Error> {
    let find = FindCheckpoints {
        limit: i32::from(limit(turn.limit)?),
        cursor: turn.cursor,
    };
    let answer: CheckpointsAnswer = answered(&app, &auditor, &headers, Kind::FindCheckpoints, find.into()).await?;
    Ok(Json(Checkpoints {
        items: answer.checkpoints,
        next: answer.next_cursor,
    }))
}

/// What each hour's records say about delivery, the newest first.
#[utoipa::path(
    get, path = "/v1/audit/certificates", tag = "audit", operation_id = "listCertificates",
    params(Turn, AnswerHeaders),
    security(("bearer" = [])),
    responses((status = OK, body = Certificates)),
)]
pub(in crate::api) async fn certificates(
    State(app): State<App>,
    auditor: Auditor,
    Asked(turn): Asked<Turn>,
    headers: HeaderMap,
) -> Result<Json<Certificates>, Error> {
    let find = FindCertificates {
        limit: i32::from(limit(turn.limit)?),
        cursor: turn.cursor,
    };
    let answer: CertificatesAnswer = answered(&app, &auditor, &headers, Kind::FindCertificates, find.into()).await?;
    Ok(Json(Certificates {
        items: answer.certificates,
        next: answer.next_cursor,
    }))
}

/// Asks the audit service, and reads its answer.
pub(super) async fn answered<A: DeserializeOwned>(
    app: &App,
    auditor: &Principal,
    headers: &HeaderMap,
    kind: Kind,
    question: AuditQuery,
) -> Result<A, Error> {
    let wait = asked_wait(headers).unwrap_or(WAIT);
    let answer = ask(app, auditor, kind, question, wait).await?;
    serde_json::from_str(&answer).map_err(Error::BadAnswer)
}
