//! Whether the log is what it was.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use contracts::{VerifyAuditLog, topics};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::answered;
use crate::api::extract::Write;
use crate::api::form::Form;
use crate::api::principal::Auditor;
use crate::api::question::AnswerHeaders;
use crate::app::App;
use crate::error::Error;
use crate::store::operations::Kind;

const LONGEST_CURSOR: usize = 1_000;

/// What to verify.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "topic": "users" }))]
pub(in crate::api) struct Verification {
    /// Else all topics.
    #[schema(max_length = 100, pattern = "^[a-z.-]+$")]
    topic: Option<String>,
    /// `next_cursor` of the answer before.
    #[schema(max_length = 1000, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$")]
    cursor: Option<String>,
}

/// Compare the log with its hashes, trees and checkpoints, a step at a time: ask again with `next_cursor` as `cursor`
/// until there is none.
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
    let mut form = Form::default();
    if let Some(topic) = &body.topic {
        form.check(
            topics::by_name(topic).is_some(),
            "topic",
            "unknown",
            "There is no such topic.",
        );
    }
    if let Some(cursor) = &body.cursor {
        form.line("cursor", cursor, LONGEST_CURSOR);
    }
    form.finish()?;
    let verify = VerifyAuditLog {
        topic: body.topic,
        cursor: body.cursor,
    };
    answered(&app, &auditor, &headers, Kind::VerifyAuditLog, verify.into())
        .await
        .map(Json)
}
