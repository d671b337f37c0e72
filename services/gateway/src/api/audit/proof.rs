//! Inclusion proofs of audit entries.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use contracts::ProveAuditEntry;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::query_audit;
use crate::api::extract::{QueryParams, Segment};
use crate::api::form::Form;
use crate::api::principal::Auditor;
use crate::api::query::QueryHeaders;
use crate::app::App;
use crate::error::Error;
use crate::store::operations::Kind;

/// Selects the checkpoint of the proof.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ProofQuery {
    /// Id of a checkpoint. The default is the newest one.
    #[param(format = Uuid)]
    checkpoint: Option<String>,
}

/// Prove that the audit log contains an entry.
///
/// The proof consists of the leaf of the entry and the path to a signed root (RFC 6962).
#[utoipa::path(
    get, path = "/v1/audit/entries/{id}/proof", tag = "audit", operation_id = "proveAuditEntry",
    params(
        ("id" = String, Path, description = "Position of the entry: topic, partition and offset", example = "users.commands-3-17",
            pattern = "^[a-z.-]+-[0-9]+-[0-9]+$", max_length = 100),
        ProofQuery, QueryHeaders,
    ),
    security(("bearer" = [])),
    responses((status = OK, body = Object, description = "The entry, its leaf, the inclusion path and the checkpoint")),
)]
pub(in crate::api) async fn proof(
    State(app): State<App>,
    auditor: Auditor,
    Segment(entry_id): Segment,
    QueryParams(query): QueryParams<ProofQuery>,
    headers: HeaderMap,
) -> Result<Json<Value>, Error> {
    if !is_position(&entry_id) {
        return Err(Error::NotFound);
    }
    let mut form = Form::default();
    let checkpoint_id = query.checkpoint.map(|text| form.uuid("checkpoint", &text));
    form.finish()?;
    let prove = ProveAuditEntry {
        entry_id,
        checkpoint_id,
    };
    query_audit(&app, &auditor, &headers, Kind::ProveAuditEntry, prove)
        .await
        .map(Json)
}

/// Returns `true` if the text is the position of a record: topic, partition and offset, joined by hyphens.
fn is_position(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = text.rsplitn(3, '-');
    let (offset, partition, topic) = (parts.next(), parts.next(), parts.next());
    let is_topic = |topic: &str| {
        let mut bytes = topic.bytes();
        !topic.is_empty() && bytes.all(|byte| byte.is_ascii_lowercase() || b".-".contains(&byte))
    };
    text.len() <= 100
        && offset.is_some_and(is_number)
        && partition.is_some_and(is_number)
        && topic.is_some_and(is_topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_topic_partition_and_offset() {
        for text in [
            "users-0-0",
            "users.commands-3-17",
            "dead-letters-11-9223372036854775807",
        ] {
            assert!(is_position(text), "{text}");
        }
        for text in [
            "",
            "users",
            "users-3",
            "-3-17",
            "users-x-17",
            "users-3-",
            "Users-3-17",
            "users-3-17\0",
        ] {
            assert!(!is_position(text), "{text}");
        }
    }
}
