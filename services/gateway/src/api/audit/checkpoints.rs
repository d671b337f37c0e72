//! Signed checkpoints and delivery certificates of the audit log.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use contracts::{FindCertificates, FindCheckpoints};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::query_audit;
use crate::api::extract::{QueryParams, limit};
use crate::api::principal::Auditor;
use crate::api::query::QueryHeaders;
use crate::app::App;
use crate::error::Error;
use crate::store::operations::Kind;

/// Selects a page of a list of the audit service.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct AuditPaging {
    /// `next` of the previous page.
    cursor: Option<String>,
    /// Maximum number of items on the page, from 1 to 200. The default is 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// A page of signed checkpoints, newest first.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Checkpoints {
    /// The checkpoints with the heads of all trees, the signed text, the key and the signature.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A page of delivery certificates, newest first.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Certificates {
    /// The certificates with an hour and the missing messages for each topic and producer.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The result of the audit service.
#[derive(Deserialize)]
struct FoundCheckpoints {
    checkpoints: Vec<Value>,
    next_cursor: Option<String>,
}

/// The result of the audit service.
#[derive(Deserialize)]
struct FoundCertificates {
    certificates: Vec<Value>,
    next_cursor: Option<String>,
}

/// List the signed checkpoints of the audit log, newest first.
#[utoipa::path(
    get, path = "/v1/audit/checkpoints", tag = "audit", operation_id = "listCheckpoints",
    params(AuditPaging, QueryHeaders),
    security(("bearer" = [])),
    responses((status = OK, body = Checkpoints)),
)]
pub(in crate::api) async fn checkpoints(
    State(app): State<App>,
    auditor: Auditor,
    QueryParams(paging): QueryParams<AuditPaging>,
    headers: HeaderMap,
) -> Result<Json<Checkpoints>, Error> {
    let find = FindCheckpoints {
        limit: i32::from(limit(paging.limit)?),
        cursor: paging.cursor,
    };
    let found: FoundCheckpoints = query_audit(&app, &auditor, &headers, Kind::FindCheckpoints, find).await?;
    Ok(Json(Checkpoints {
        items: found.checkpoints,
        next: found.next_cursor,
    }))
}

/// List the delivery certificates, newest first.
///
/// A certificate states for one hour which messages are missing from the audit log.
#[utoipa::path(
    get, path = "/v1/audit/certificates", tag = "audit", operation_id = "listCertificates",
    params(AuditPaging, QueryHeaders),
    security(("bearer" = [])),
    responses((status = OK, body = Certificates)),
)]
pub(in crate::api) async fn certificates(
    State(app): State<App>,
    auditor: Auditor,
    QueryParams(paging): QueryParams<AuditPaging>,
    headers: HeaderMap,
) -> Result<Json<Certificates>, Error> {
    let find = FindCertificates {
        limit: i32::from(limit(paging.limit)?),
        cursor: paging.cursor,
    };
    let found: FoundCertificates = query_audit(&app, &auditor, &headers, Kind::FindCertificates, find).await?;
    Ok(Json(Certificates {
        items: found.certificates,
        next: found.next_cursor,
    }))
}
