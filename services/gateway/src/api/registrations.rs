//! Seats and waiting lists.

mod attendees;
mod check_in;
mod ticket;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use contracts::{CancelReason, CancelRegistration, Register, RegistrationCommand};
use uuid::Uuid;

use super::answer::answer;
use super::extract::{Asked, Call, Id, Nothing, Paging, Write, WriteHeaders};
use super::operations::OperationView;
use super::principal::Member;
use crate::app::App;
use crate::error::Error;
use crate::operations::Intent;
use crate::principal::Principal;
use crate::store::operations::Kind;
use crate::store::page::{List, Page};
use crate::store::registrations::{self, Registration};

pub(super) use attendees::*;
pub(super) use check_in::*;
pub(super) use ticket::*;

/// Register for an event: for a seat, or where all are taken, for the waiting list.
#[utoipa::path(
    post, path = "/v1/events/{id}/registrations", tag = "registrations", operation_id = "register",
    params(("id" = Uuid, Path, description = "The event"), WriteHeaders),
    security(("bearer" = [])),
    responses(
        (status = CREATED, body = Registration, headers(("Location", description = "/v1/registrations/{id}"))),
        (status = ACCEPTED, body = OperationView),
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
    let (key, kind) = (event_id, Kind::Register);
    respond(&app, &call, &member, kind, key, registration_id, register).await
}

/// A registration, for the one who holds it and for the organizer.
#[utoipa::path(
    get, path = "/v1/registrations/{id}", tag = "registrations", operation_id = "showRegistration",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses((status = OK, body = Registration)),
)]
pub(super) async fn show(State(app): State<App>, member: Member, Id(id): Id) -> Result<Json<Registration>, Error> {
    let registration = registrations::find(app.pool(), id, member.viewer()).await?;
    registration.map(Json).ok_or(Error::NotFound)
}

/// Give up a seat, or a place on the waiting list; as the organizer, take it away.
#[utoipa::path(
    delete, path = "/v1/registrations/{id}", tag = "registrations", operation_id = "cancelRegistration",
    params(("id" = Uuid, Path), WriteHeaders),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Registration),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(super) async fn cancel(
    State(app): State<App>,
    member: Member,
    Id(id): Id,
    Write { call, .. }: Write<Nothing>,
) -> Result<Response, Error> {
    let registration = registrations::find(app.pool(), id, member.viewer()).await?;
    let registration = registration.ok_or(Error::NotFound)?;
    let reason = match registration.user_id == member.id {
        true => CancelReason::ByAttendee,
        false => CancelReason::ByOrganizer,
    };
    let cancel = CancelRegistration {
        registration_id: id,
        reason,
    };
    let (key, kind) = (registration.event_id, Kind::CancelRegistration);
    respond(&app, &call, &member, kind, key, id, cancel).await
}

/// Your own registrations, the newest first.
#[utoipa::path(
    get, path = "/v1/me/registrations", tag = "registrations", operation_id = "listMyRegistrations",
    params(Paging),
    security(("bearer" = [])),
    responses((status = OK, body = Page<Registration>)),
)]
pub(super) async fn mine(
    State(app): State<App>,
    member: Member,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Registration>>, Error> {
    let cut = paging.cut_of(List::new("registrations of", &member.id))?;
    let page = registrations::of_user(app.pool(), member.id, cut).await?;
    Ok(Json(page))
}

/// Says a command to the event's roster, and answers what becomes of it. What the principal may do is the registration
/// service's to say.
async fn respond(
    app: &App,
    call: &Call,
    member: &Principal,
    kind: Kind,
    event: Uuid,
    registration: Uuid,
    said: impl Into<RegistrationCommand>,
) -> Result<Response, Error> {
    let intent = Intent::<RegistrationCommand> {
        id: Uuid::now_v7(),
        kind,
        actor: member.actor(),
        key: event,
        command: said.into(),
        resource_id: registration,
        expected_version: None,
        password_hash: None,
        idempotency: call.idempotency(Some(member.id)),
        wait: call.wait(),
    };
    let operation = app.operations().perform(intent).await?;
    answer(app, call, member.viewer(), operation).await
}
