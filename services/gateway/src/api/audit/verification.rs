//! Whether the log is what it was.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use contracts::VerifyAuditLog;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{AnswerHeaders, answered};
use crate::api::extract::Write;
use crate::api::principal::Auditor;
use crate::app::App;
use crate::error::Error;
use crate::store::operations::Kind;

/// What to verify.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "topic": "users" }))]
pub(in crate::api) struct Verification {
    /// Else all topics.
    #[schema(max_length = 100, pattern = "^[a-z.-]+$")]
    topic: Option<String>,
    /// `next_cursor` of the answer before.
    #[schema(max_length = 1000)]
    cursor: Option<String>,
}

/// Compare the log with its hashes, trees and checkpoints, a step at a time: ask again with `next_cursor` as `cursor` until
/// there is none.
#[utoipa::path(
    post, path = "/v1/audit/verifications", tag = "audit", operation_id = "verifyAuditLog",
    params(AnswerHeaders), request_body = Option<Verification>,
    security(("bearer" = [])),
    responses((status = OK, body = Object, description = "Whether it is valid, what was checked, and what was found")),
)]
pub(in crate::api) async fn verify(
    State(app): State<App>,
    auditor: Auditor,
    headers: HeaderMap,
    Write { body, .. }: Write<Verification>,
) -> Result<Json<Value>, Error> {
    let verify = VerifyAuditLog {
        topic: body.topic,
        cursor: body.cursor,
    };
    answered(&app, &auditor, &headers, Kind::VerifyAuditLog, verify.into())
        .await
        .map(Json)
}
