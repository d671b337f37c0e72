//! Verification of the audit log.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use contracts::{VerifyAuditLog, topics};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::query_audit;
use crate::api::extract::Write;
use crate::api::form::Form;
use crate::api::principal::Auditor;
use crate::api::query::QueryHeaders;
use crate::app::App;
use crate::error::Error;
use crate::store::operations::Kind;

/// Maximum length of a cursor, in characters.
const MAX_CURSOR_CHARS: usize = 1_000;

/// Selects the part of the audit log to verify.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "topic": "users" }))]
pub(in crate::api) struct Verification {
    /// The topic to verify. The default is all topics.
    #[schema(max_length = 100, pattern = "^[a-z.-]+$")]
    topic: Option<String>,
    /// `next_cursor` of the previous response.
    #[schema(max_length = 1000, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$")]
    cursor: Option<String>,
}

/// Verify a part of the audit log against its hashes, trees and checkpoints.
///
/// Each request verifies one part. Send the request again with `next_cursor` of the response as `cursor`, until the
/// response contains none.
#[utoipa::path(
    post, path = "/v1/audit/verifications", tag = "audit", operation_id = "verifyAuditLog",
    params(QueryHeaders), request_body = Option<Verification>,
    security(("bearer" = [])),
    responses((status = OK, body = Object, description = "Validity of the part, the checks, and the findings")),
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
            "This topic does not exist.",
        );
    }
    if let Some(cursor) = &body.cursor {
        form.line("cursor", cursor, MAX_CURSOR_CHARS);
    }
    form.finish()?;
    let verify = VerifyAuditLog {
        topic: body.topic,
        cursor: body.cursor,
    };
    query_audit(&app, &auditor, &headers, Kind::VerifyAuditLog, verify)
        .await
        .map(Json)
}
