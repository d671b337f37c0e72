//! What became of a write.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::location;
use super::extract::{Asked, Id, Paging};
use super::principal::{Anyone, Member};
use crate::app::App;
use crate::error::Error;
use crate::problem;
use crate::store::operations::{self, Kind, Operation, Status};
use crate::store::page::Page;

/// A write, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Operation)]
pub(super) struct OperationView {
    id: Uuid,
    kind: Kind,
    status: Status,
    /// Where the thing is that it is about, once it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("/v1/events/0193b0a8-6f62-7cc0-b3ff-4a1a2f1c2d3e"))]
    resource: Option<String>,
    /// What an operator's command came to, as its service says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    /// Why it was refused, or failed.
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
        let is_for_operators = matches!(
            operation.kind,
            Kind::ReleaseKey | Kind::RedriveDeadLetter | Kind::DiscardDeadLetter
        );
        let result = operation.result.filter(|_| is_for_operators);
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

/// Shown without a principal. Other operations without one were asked for by somebody who is forgotten.
const OPEN: [Kind; 4] = [
    Kind::CreateUser,
    Kind::BootstrapAdmin,
    Kind::CreateAdmin,
    Kind::EraseUser,
];

/// What became of a write.
///
/// An operation that nobody can be signed in for (a sign-up, an erasure) is shown to whoever knows its id.
#[utoipa::path(
    get, path = "/v1/operations/{id}", tag = "operations", operation_id = "showOperation",
    params(("id" = Uuid, Path)),
    security((), ("bearer" = [])),
    responses(
        (status = OK, body = OperationView, headers(("Retry-After", description = "Seconds, while it is pending"))),
    ),
)]
pub(super) async fn show(State(app): State<App>, anyone: Anyone, Id(id): Id) -> Result<Response, Error> {
    let operation = operations::find(app.pool(), id).await?;
    let operation = operation
        .filter(|operation| match operation.principal {
            Some(principal) => anyone.viewer().may_see(principal),
            None => anyone.viewer().sees_all || OPEN.contains(&operation.kind),
        })
        .ok_or(Error::NotFound)?;
    let pending = operation.status == Status::Pending;
    let mut response = Json(OperationView::from(operation)).into_response();
    if pending {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}

/// Your own writes, the newest first.
#[utoipa::path(
    get, path = "/v1/me/operations", tag = "operations", operation_id = "listMyOperations",
    params(Paging),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Page<OperationView>),
    ),
)]
pub(super) async fn mine(
    State(app): State<App>,
    member: Member,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<OperationView>>, Error> {
    let page = operations::of_user(app.pool(), member.id, paging.cut()?).await?;
    Ok(Json(Page {
        items: page.items.into_iter().map(OperationView::from).collect(),
        next: page.next,
    }))
}
