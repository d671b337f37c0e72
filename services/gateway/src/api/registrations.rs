//! Seats and waiting lists.

mod attendees;
mod check_in;
mod ticket;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use contracts::{CancelReason, CancelRegistration, Register, RegistrationCommand};
use uuid::Uuid;

use super::extract::{EmptyBody, Id, Paging, QueryParams, Write, WriteHeaders};
use super::operations::OperationView;
use super::principal::Member;
use super::respond::perform;
use crate::app::App;
use crate::error::Error;
use crate::store::operations::Kind;
use crate::store::page::{List, Page};
use crate::store::registrations::{self, Registration};

pub(super) use attendees::*;
pub(super) use check_in::*;
pub(super) use ticket::*;

/// Register for an event.
///
/// The registration gets a seat, or a position on the waiting list if all seats are taken.
#[utoipa::path(
    post, path = "/v1/events/{id}/registrations", tag = "registrations", operation_id = "register",
    params(("id" = Uuid, Path, description = "Id of the event"), WriteHeaders),
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
    Write { options, .. }: Write<EmptyBody>,
) -> Result<Response, Error> {
    let registration_id = Uuid::now_v7();
    let register = Register {
        registration_id,
        user_id: member.id,
    };
    let intent = options
        .intent::<RegistrationCommand>(&member, Kind::Register, registration_id, register)
        .aggregate(event_id);
    perform(&app, &options, &member, intent).await
}

/// Show a registration, to its attendee and to the organizer of the event.
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

/// Cancel a registration, as its attendee or as the organizer of the event.
///
/// Its seat, or its position on the waiting list, is released.
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
    Write { options, .. }: Write<EmptyBody>,
) -> Result<Response, Error> {
    let registration = registrations::find(app.pool(), id, member.viewer()).await?;
    let registration = registration.ok_or(Error::NotFound)?;
    let reason = if registration.user_id == member.id {
        CancelReason::ByAttendee
    } else {
        CancelReason::ByOrganizer
    };
    let cancel = CancelRegistration {
        registration_id: id,
        reason,
    };
    let intent = options
        .intent::<RegistrationCommand>(&member, Kind::CancelRegistration, id, cancel)
        .aggregate(registration.event_id);
    perform(&app, &options, &member, intent).await
}

/// List your own registrations, newest first.
#[utoipa::path(
    get, path = "/v1/me/registrations", tag = "registrations", operation_id = "listMyRegistrations",
    params(Paging),
    security(("bearer" = [])),
    responses((status = OK, body = Page<Registration>)),
)]
pub(super) async fn list_mine(
    State(app): State<App>,
    member: Member,
    QueryParams(paging): QueryParams<Paging>,
) -> Result<Json<Page<Registration>>, Error> {
    let page_request = paging.page_request_for(List::new("registrations of", &member.id))?;
    let page = registrations::of_user(app.pool(), member.id, page_request).await?;
    Ok(Json(page))
}
