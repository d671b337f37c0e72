//! How a write is answered: with the resource, with a problem, or with where to ask later.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::Rejection;
use serde::Serialize;
use uuid::Uuid;

use super::events::Staff;
use super::extract::{Call, PREFERENCE_APPLIED};
use super::operations::OperationView;
use crate::app::App;
use crate::error::Error;
use crate::store::operations::{Kind, Operation, Status};
use crate::store::viewer::Viewer;
use crate::store::{events, registrations, users};

/// What became of a write. `viewer`: whom the resource is shown to.
pub(super) async fn answer(
    app: &App,
    call: &Call,
    viewer: impl Into<Viewer>,
    operation: Operation,
) -> Result<Response, Error> {
    let mut response = match operation.status {
        Status::Pending => later(operation),
        Status::Succeeded => done(app, viewer.into(), operation).await?,
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
    if let Some(wait) = call.asked_wait {
        let applied = format!("wait={}", wait.as_secs());
        set(
            response.headers_mut(),
            HeaderName::from_static(PREFERENCE_APPLIED),
            &applied,
        );
    }
    Ok(response)
}

/// Where the thing is that an operation is about.
pub(super) fn location(kind: Kind, resource: Uuid) -> Option<String> {
    match kind {
        Kind::CreateUser
        | Kind::ChangeUser
        | Kind::ChangeEmail
        | Kind::DeactivateUser
        | Kind::BootstrapAdmin
        | Kind::CreateAdmin => Some(format!("/v1/users/{resource}")),
        Kind::CreateEvent
        | Kind::ChangeEvent
        | Kind::PublishEvent
        | Kind::RescheduleEvent
        | Kind::Announce
        | Kind::CancelEvent => Some(format!("/v1/events/{resource}")),
        Kind::NameStaff => Some(format!("/v1/events/{resource}/staff")),
        Kind::Register | Kind::CancelRegistration | Kind::CheckIn => Some(format!("/v1/registrations/{resource}")),
        Kind::SetRoles
        | Kind::EraseUser
        | Kind::ReleaseKey
        | Kind::RedriveDeadLetter
        | Kind::DiscardDeadLetter
        | Kind::FindParked
        | Kind::FindDeadLetters
        | Kind::WhereIs
        | Kind::FindAuditEntries
        | Kind::ProveAuditEntry
        | Kind::FindCheckpoints
        | Kind::FindCertificates
        | Kind::VerifyAuditLog => None,
    }
}

/// A resource with its version as `ETag`.
pub(super) fn versioned(version: i64, resource: impl Serialize) -> Response {
    let mut response = Json(resource).into_response();
    set(response.headers_mut(), header::ETAG, &format!("\"{version}\""));
    response
}

async fn done(app: &App, viewer: Viewer, operation: Operation) -> Result<Response, Error> {
    let (pool, id) = (app.pool(), operation.resource_id);
    let found = match operation.kind {
        Kind::CreateUser
        | Kind::ChangeUser
        | Kind::ChangeEmail
        | Kind::DeactivateUser
        | Kind::BootstrapAdmin
        | Kind::CreateAdmin => {
            let user = users::find(pool, id, viewer).await?;
            user.map(|user| versioned(user.version, user))
        }
        Kind::CreateEvent | Kind::ChangeEvent | Kind::PublishEvent | Kind::RescheduleEvent | Kind::CancelEvent => {
            let event = events::find(pool, id, viewer).await?;
            event.map(|event| versioned(event.version, event))
        }
        Kind::NameStaff => {
            let event = events::find(pool, id, viewer).await?;
            event.map(|event| versioned(event.version, Staff::from(event)))
        }
        Kind::Register | Kind::CancelRegistration => {
            let registration = registrations::find(pool, id, viewer).await?;
            registration.map(|registration| Json(registration).into_response())
        }
        Kind::CheckIn => {
            let registration = registrations::at_the_door(pool, id, viewer).await?;
            registration.map(|registration| Json(registration).into_response())
        }
        // What was asked for is on its way, and that is all there is to see.
        Kind::Announce | Kind::ReleaseKey | Kind::RedriveDeadLetter | Kind::DiscardDeadLetter => {
            return Ok(later(operation));
        }
        Kind::SetRoles
        | Kind::EraseUser
        | Kind::FindParked
        | Kind::FindDeadLetters
        | Kind::WhereIs
        | Kind::FindAuditEntries
        | Kind::ProveAuditEntry
        | Kind::FindCheckpoints
        | Kind::FindCertificates
        | Kind::VerifyAuditLog => None,
    };
    let created = matches!(operation.kind, Kind::CreateUser | Kind::CreateEvent | Kind::Register);
    let location = location(operation.kind, id).filter(|_| created);
    // It was there, or its effects could not be seen; by now it is gone again.
    let mut response = found.unwrap_or_else(|| Json(OperationView::from(operation)).into_response());
    if let Some(location) = location {
        *response.status_mut() = StatusCode::CREATED;
        set(response.headers_mut(), header::LOCATION, &location);
    }
    Ok(response)
}

fn later(operation: Operation) -> Response {
    let location = format!("/v1/operations/{}", operation.id);
    let pending = operation.status == Status::Pending;
    let mut response = (StatusCode::ACCEPTED, Json(OperationView::from(operation))).into_response();
    let headers = response.headers_mut();
    set(headers, header::LOCATION, &location);
    if pending {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

pub(super) fn rejection(operation: Operation) -> Rejection {
    operation
        .rejection
        .unwrap_or_else(|| Rejection::new("not-executable", "The service gave no reason."))
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
