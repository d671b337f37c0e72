//! Responses to writes: the resource, a problem, or the operation to poll.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::{Message, Rejection};
use serde::Serialize;
use uuid::Uuid;

use super::events::Staff;
use super::extract::{PREFERENCE_APPLIED, WriteOptions};
use super::operations::OperationView;
use crate::app::App;
use crate::error::Error;
use crate::operations::Intent;
use crate::principal::Principal;
use crate::store::operations::{Kind, Operation, Resource, Status, Success};
use crate::store::viewer::Viewer;
use crate::store::{registrations, users};

/// Performs the intent of a signed-in user and returns the response for its outcome.
pub(super) async fn perform<M: Message>(
    app: &App,
    options: &WriteOptions,
    principal: &Principal,
    intent: Intent<M>,
) -> Result<Response, Error> {
    let operation = app.operations().perform(intent).await?;
    respond(app, options, principal.viewer(), operation).await
}

/// Returns the response for the outcome of an operation. A resource is shown as `viewer` sees it.
///
/// # Errors
/// Returns [`Error::Rejected`] or [`Error::Failed`] if the operation was rejected or failed.
pub(super) async fn respond(
    app: &App,
    options: &WriteOptions,
    viewer: impl Into<Viewer>,
    operation: Operation,
) -> Result<Response, Error> {
    let mut response = match operation.status {
        Status::Pending => accepted(operation),
        Status::Succeeded => succeeded(app, viewer.into(), operation).await?,
        Status::Rejected => {
            return Err(Error::Rejected {
                operation: operation.id,
                rejection: rejection(operation),
            });
        }
        Status::Failed => {
            return Err(Error::Failed {
                operation: operation.id,
                rejection: rejection(operation),
            });
        }
    };
    if let Some(wait) = options.preferred_wait {
        let applied = format!("wait={}", wait.as_secs());
        set(
            response.headers_mut(),
            HeaderName::from_static(PREFERENCE_APPLIED),
            &applied,
        );
    }
    Ok(response)
}

/// Returns the path of the resource that an operation affects, or `None` if it affects none that has a path.
pub(super) fn location(kind: Kind, id: Uuid) -> Option<String> {
    match kind.success() {
        Success::Created(resource) | Success::Changed(resource) | Success::Accepted(resource) => {
            Some(resource.path(id))
        }
        Success::OpsResult | Success::Done | Success::QueryResult => None,
    }
}

/// Returns a resource with its version as `ETag`.
pub(super) fn versioned(version: i64, resource: impl Serialize) -> Response {
    let mut response = Json(resource).into_response();
    set(response.headers_mut(), header::ETAG, &format!("\"{version}\""));
    response
}

/// Returns the reason of a rejected or failed operation.
pub(super) fn rejection(operation: Operation) -> Rejection {
    operation
        .rejection
        .unwrap_or_else(|| Rejection::new("not-executable", "The service gave no reason."))
}

impl Resource {
    fn path(self, id: Uuid) -> String {
        match self {
            Self::User => format!("/v1/users/{id}"),
            Self::Event => format!("/v1/events/{id}"),
            Self::Staff => format!("/v1/events/{id}/staff"),
            Self::Registration | Self::CheckedInRegistration => format!("/v1/registrations/{id}"),
        }
    }

    /// Reads the resource. Returns `None` if it does not exist, or `viewer` is not allowed to see it.
    async fn read(self, app: &App, id: Uuid, viewer: Viewer) -> Result<Option<Response>, Error> {
        let pool = app.pool();
        let response = match self {
            Self::User => {
                let user = users::find(pool, id, viewer).await?;
                user.map(|user| versioned(user.version, user))
            }
            Self::Event => {
                let event = app.event_reads().find(id, viewer).await?;
                event.map(|event| versioned(event.version, event))
            }
            Self::Staff => {
                let event = app.event_reads().find(id, viewer).await?;
                event.map(|event| versioned(event.version, Staff::from(event)))
            }
            Self::Registration => {
                let registration = registrations::find(pool, id, viewer).await?;
                registration.map(|registration| Json(registration).into_response())
            }
            Self::CheckedInRegistration => {
                let registration = registrations::find_for_check_in(pool, id, viewer).await?;
                registration.map(|registration| Json(registration).into_response())
            }
        };
        Ok(response)
    }
}

async fn succeeded(app: &App, viewer: Viewer, operation: Operation) -> Result<Response, Error> {
    let id = operation.resource_id;
    let success = operation.kind.success();
    let resource = match success {
        Success::Accepted(_) | Success::OpsResult => return Ok(accepted(operation)),
        Success::Created(resource) | Success::Changed(resource) => resource.read(app, id, viewer).await?,
        Success::Done | Success::QueryResult => None,
    };
    // The resource may have been deleted since, or be invisible to the viewer.
    let mut response = resource.unwrap_or_else(|| Json(OperationView::from(operation)).into_response());
    if let Success::Created(resource) = success {
        *response.status_mut() = StatusCode::CREATED;
        set(response.headers_mut(), header::LOCATION, &resource.path(id));
    }
    Ok(response)
}

fn accepted(operation: Operation) -> Response {
    let location = format!("/v1/operations/{}", operation.id);
    let is_pending = operation.status == Status::Pending;
    let mut response = (StatusCode::ACCEPTED, Json(OperationView::from(operation))).into_response();
    let headers = response.headers_mut();
    set(headers, header::LOCATION, &location);
    if is_pending {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
