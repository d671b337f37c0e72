//! Seats and waiting lists.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use contracts::{CancelReason, CancelRegistration, Register, RegistrationCommand};
use uuid::Uuid;

use super::answer::answer;
use super::extract::{Asked, Id, Nothing, Paging, Write, WriteHeaders};
use super::operations::OperationView;
use super::principal::{Member, Organizer};
use crate::app::App;
use crate::error::Error;
use crate::operations::Intent;
use crate::problem;
use crate::store::operations::Kind;
use crate::store::page::Page;
use crate::store::registrations::Registration;
use crate::store::{events, registrations};

/// Register for an event: for a seat, or where all are taken, for the waiting list.
#[utoipa::path(
    post, path = "/v1/events/{id}/registrations", tag = "registrations", operation_id = "register",
    params(("id" = Uuid, Path, description = "The event"), WriteHeaders),
    security(("bearer" = [])),
    responses(
        (status = CREATED, body = Registration, headers(("Location", description = "/v1/registrations/{id}"))),
        (status = ACCEPTED, body = OperationView, headers(("Location", description = "/v1/operations/{id}"))),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn register(
    State(app): State<App>,
    member: Member,
    Id(event_id): Id,
    Write { call, .. }: Write<Nothing>,
) -> Result<Response, Error> {
    let registration_id = Uuid::now_v7();
    let register = Register {
        registration_id,
        user_id: member.id,
    };
    let intent = Intent::<RegistrationCommand> {
        id: Uuid::now_v7(),
        kind: Kind::Register,
        principal: Some(member.id),
        key: event_id,
        command: register.into(),
        resource_id: registration_id,
        expected_version: None,
        password_hash: None,
        idempotency: call.idempotency(Some(member.id)),
        wait: call.wait(),
    };
    let operation = app.operations().perform(intent).await?;
    answer(&app, &call, member.id, operation).await
}

/// Who registered for your event, in order.
#[utoipa::path(
    get, path = "/v1/events/{id}/registrations", tag = "registrations", operation_id = "listRegistrations",
    params(("id" = Uuid, Path, description = "The event"), Paging),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Page<Registration>),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn of_event(
    State(app): State<App>,
    organizer: Organizer,
    Id(event_id): Id,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Registration>>, Error> {
    let cut = paging.cut()?;
    let event = events::find(app.pool(), event_id, Some(organizer.id)).await?;
    if event.is_none_or(|event| event.organizer_id != organizer.id) {
        return Err(Error::NotFound);
    }
    let page = registrations::of_event(app.pool(), event_id, cut).await?;
    Ok(Json(page))
}

/// A registration, for the one who holds it and for the organizer.
#[utoipa::path(
    get, path = "/v1/registrations/{id}", tag = "registrations", operation_id = "showRegistration",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Registration),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn show(State(app): State<App>, member: Member, Id(id): Id) -> Result<Json<Registration>, Error> {
    let registration = registrations::find(app.pool(), id, member.id).await?;
    registration.map(Json).ok_or(Error::NotFound)
}

/// Give up a seat, or a place on the waiting list; as the organizer, take it away.
#[utoipa::path(
    delete, path = "/v1/registrations/{id}", tag = "registrations", operation_id = "cancelRegistration",
    params(("id" = Uuid, Path), WriteHeaders),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Registration),
        (status = ACCEPTED, body = OperationView, headers(("Location", description = "/v1/operations/{id}"))),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn cancel(
    State(app): State<App>,
    member: Member,
    Id(id): Id,
    Write { call, .. }: Write<Nothing>,
) -> Result<Response, Error> {
    let registration = registrations::find(app.pool(), id, member.id)
        .await?
        .ok_or(Error::NotFound)?;
    let reason = match registration.user_id == member.id {
        true => CancelReason::ByAttendee,
        false => CancelReason::ByOrganizer,
    };
    let cancel = CancelRegistration {
        registration_id: id,
        reason,
    };
    let intent = Intent::<RegistrationCommand> {
        id: Uuid::now_v7(),
        kind: Kind::CancelRegistration,
        principal: Some(member.id),
        key: registration.event_id,
        command: cancel.into(),
        resource_id: id,
        expected_version: None,
        password_hash: None,
        idempotency: call.idempotency(Some(member.id)),
        wait: call.wait(),
    };
    let operation = app.operations().perform(intent).await?;
    answer(&app, &call, member.id, operation).await
}

/// Your own registrations, the newest first.
#[utoipa::path(
    get, path = "/v1/me/registrations", tag = "registrations", operation_id = "listMyRegistrations",
    params(Paging),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Page<Registration>),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn mine(
    State(app): State<App>,
    member: Member,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Registration>>, Error> {
    let page = registrations::of_user(app.pool(), member.id, paging.cut()?).await?;
    Ok(Json(page))
}
