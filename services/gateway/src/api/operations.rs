//! Asynchronous operations: writes and their outcomes.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::{Id, Paging, QueryParams};
use super::principal::{Anyone, Member};
use super::respond::location;
use crate::app::App;
use crate::error::Error;
use crate::problem;
use crate::store::operations::{self, Kind, Operation, Status, Success};
use crate::store::page::Page;

/// A write and its outcome.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Operation)]
pub(super) struct OperationView {
    id: Uuid,
    kind: Kind,
    status: Status,
    /// Path of the affected resource, if the operation succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("/v1/events/0193b0a8-6f62-7cc0-b3ff-4a1a2f1c2d3e"))]
    resource: Option<String>,
    /// The result of a command of an operator, as the service reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    /// The reason, if the operation was rejected or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<problem::Body>,
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<DateTime<Utc>>,
}

impl From<Operation> for OperationView {
    fn from(operation: Operation) -> Self {
        let resource = location(operation.kind, operation.resource_id);
        let problem = operation.rejection.map(|rejection| {
            let error = Error::Rejected {
                operation: operation.id,
                rejection,
            };
            error.problem().body(None, None)
        });
        let has_result = operation.kind.success() == Success::OpsResult;
        let result = operation.result.filter(|_| has_result);
        let result = result.and_then(|text| serde_json::from_str(&text).ok());
        Self {
            id: operation.id,
            kind: operation.kind,
            status: operation.status,
            resource: resource.filter(|_| operation.status == Status::Succeeded),
            result,
            problem,
            created_at: operation.created_at,
            completed_at: operation.completed_at,
        }
    }
}

/// Kinds that are shown without a principal, because no user is signed in for them. Any other operation without a
/// principal belongs to an erased user.
const PUBLIC_KINDS: [Kind; 4] = [
    Kind::CreateUser,
    Kind::BootstrapAdmin,
    Kind::CreateAdmin,
    Kind::EraseUser,
];

/// Show an operation.
///
/// Users see their own operations, and admins see all. A sign-up or an erasure is shown to everyone who knows its id,
/// because its user cannot be signed in.
#[utoipa::path(
    get, path = "/v1/operations/{id}", tag = "operations", operation_id = "showOperation",
    params(("id" = Uuid, Path)),
    security((), ("bearer" = [])),
    responses(
        (status = OK, body = OperationView, headers(("Retry-After", description = "Seconds until the next request, while the operation is pending"))),
    ),
)]
pub(super) async fn show(State(app): State<App>, anyone: Anyone, Id(id): Id) -> Result<Response, Error> {
    let operation = operations::find(app.pool(), id).await?;
    let operation = operation
        .filter(|operation| match operation.principal {
            Some(principal) => anyone.viewer().may_see(principal),
            None => anyone.viewer().sees_all || PUBLIC_KINDS.contains(&operation.kind),
        })
        .ok_or(Error::NotFound)?;
    let is_pending = operation.status == Status::Pending;
    let mut response = Json(OperationView::from(operation)).into_response();
    if is_pending {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}

/// List your own operations, newest first.
#[utoipa::path(
    get, path = "/v1/me/operations", tag = "operations", operation_id = "listMyOperations",
    params(Paging),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Page<OperationView>),
    ),
)]
pub(super) async fn list_mine(
    State(app): State<App>,
    member: Member,
    QueryParams(paging): QueryParams<Paging>,
) -> Result<Json<Page<OperationView>>, Error> {
    let page = operations::of_user(app.pool(), member.id, paging.page_request()?).await?;
    Ok(Json(Page {
        items: page.items.into_iter().map(OperationView::from).collect(),
        next: page.next,
    }))
}
