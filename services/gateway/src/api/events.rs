//! What people attend.

mod announcements;
mod calendar;
mod form;
mod history;
mod list;
mod staff;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use contracts::{EventCommand, PublishEvent};
use uuid::Uuid;

use super::answer::{answer, versioned};
use super::extract::{Call, Id, Nothing, Write, WriteHeaders};
use super::operations::OperationView;
use super::principal::{Anyone, Organizer};
use crate::app::App;
use crate::error::Error;
use crate::operations::Intent;
use crate::principal::Principal;
use crate::store::events::{self, Availability, Event};
use crate::store::operations::{Kind, Operation};
use form::{Cancellation, EventChanges, NewEvent, NewTimes};

pub(super) use announcements::*;
pub(super) use calendar::*;
pub(super) use history::*;
pub(super) use list::*;
pub(super) use staff::*;

/// Draft an event. Nobody else sees it until it is published.
#[utoipa::path(
    post, path = "/v1/events", tag = "events", operation_id = "createEvent",
    params(WriteHeaders), request_body = NewEvent,
    security(("bearer" = [])),
    responses(
        (status = CREATED, body = Event, headers(("Location", description = "/v1/events/{id}"), ("ETag", description = "For `If-Match`"))),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(super) async fn create(
    State(app): State<App>,
    organizer: Organizer,
    Write { body, call }: Write<NewEvent>,
) -> Result<Response, Error> {
    let create = body.parse()?;
    respond(&app, &call, &organizer, Kind::CreateEvent, Uuid::now_v7(), create).await
}

/// An event. A draft is there for its organizer alone.
#[utoipa::path(
    get, path = "/v1/events/{id}", tag = "events", operation_id = "showEvent",
    params(("id" = Uuid, Path)),
    security((), ("bearer" = [])),
    responses((status = OK, body = Event, headers(("ETag", description = "For `If-Match`")))),
)]
pub(super) async fn show(State(app): State<App>, anyone: Anyone, Id(id): Id) -> Result<Response, Error> {
    let event = events::find(app.pool(), id, anyone.viewer()).await?;
    let event = event.ok_or(Error::NotFound)?;
    Ok(versioned(event.version, event))
}

/// Change your event; what is left out stays. Once published, its times change by rescheduling, and fewer seats
/// evict nobody.
#[utoipa::path(
    patch, path = "/v1/events/{id}", tag = "events", operation_id = "changeEvent",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The ETag that you have seen"), WriteHeaders),
    request_body = Option<EventChanges>,
    security(("bearer" = [])),
    responses(
        (status = OK, body = Event, headers(("ETag", description = "For `If-Match`"))),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(super) async fn change(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { body, call }: Write<EventChanges>,
) -> Result<Response, Error> {
    let change = body.parse()?;
    respond(&app, &call, &organizer, Kind::ChangeEvent, id, change).await
}

/// Publish your draft, so that people can register.
#[utoipa::path(
    post, path = "/v1/events/{id}/publish", tag = "events", operation_id = "publishEvent",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The ETag that you have seen"), WriteHeaders),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Event, headers(("ETag", description = "For `If-Match`"))),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(super) async fn publish(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { call, .. }: Write<Nothing>,
) -> Result<Response, Error> {
    respond(&app, &call, &organizer, Kind::PublishEvent, id, PublishEvent {}).await
}

/// Move your published event to another time. Everybody with a place is told.
#[utoipa::path(
    post, path = "/v1/events/{id}/reschedule", tag = "events", operation_id = "rescheduleEvent",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The ETag that you have seen"), WriteHeaders),
    request_body = NewTimes,
    security(("bearer" = [])),
    responses(
        (status = OK, body = Event, headers(("ETag", description = "For `If-Match`"))),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(super) async fn reschedule(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { body, call }: Write<NewTimes>,
) -> Result<Response, Error> {
    let reschedule = body.parse()?;
    respond(&app, &call, &organizer, Kind::RescheduleEvent, id, reschedule).await
}

/// Cancel your event: every registration ends.
#[utoipa::path(
    post, path = "/v1/events/{id}/cancel", tag = "events", operation_id = "cancelEvent",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The ETag that you have seen"), WriteHeaders),
    request_body = Option<Cancellation>,
    security(("bearer" = [])),
    responses(
        (status = OK, body = Event, headers(("ETag", description = "For `If-Match`"))),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(super) async fn cancel(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { body, call }: Write<Cancellation>,
) -> Result<Response, Error> {
    let cancel = body.parse()?;
    respond(&app, &call, &organizer, Kind::CancelEvent, id, cancel).await
}

/// How many seats there are, and how many are left.
#[utoipa::path(
    get, path = "/v1/events/{id}/availability", tag = "events", operation_id = "showAvailability",
    params(("id" = Uuid, Path)),
    security((), ("bearer" = [])),
    responses((status = OK, body = Availability)),
)]
pub(super) async fn availability(
    State(app): State<App>,
    anyone: Anyone,
    Id(id): Id,
) -> Result<Json<Availability>, Error> {
    let availability = events::availability(app.pool(), id, anyone.viewer()).await?;
    availability.map(Json).ok_or(Error::NotFound)
}

/// The event, if it is this organizer's, or an admin asks; else it is not there.
pub(super) async fn own(app: &App, organizer: &Principal, id: Uuid) -> Result<Event, Error> {
    let viewer = organizer.viewer();
    let event = events::find(app.pool(), id, viewer).await?;
    event
        .filter(|event| viewer.may_see(event.organizer_id))
        .ok_or(Error::NotFound)
}

/// Says the command, and answers what becomes of it.
async fn respond(
    app: &App,
    call: &Call,
    organizer: &Principal,
    kind: Kind,
    id: Uuid,
    said: impl Into<EventCommand>,
) -> Result<Response, Error> {
    let operation = command(app, call, organizer, kind, id, said.into()).await?;
    answer(app, call, organizer.viewer(), operation).await
}

/// Whether it is this organizer's event is the event service's to say.
async fn command(
    app: &App,
    call: &Call,
    organizer: &Principal,
    kind: Kind,
    id: Uuid,
    command: EventCommand,
) -> Result<Operation, Error> {
    let intent = Intent {
        id: Uuid::now_v7(),
        kind,
        actor: organizer.actor(),
        key: id,
        command,
        resource_id: id,
        expected_version: call.expected_version,
        password_hash: None,
        idempotency: call.idempotency(Some(organizer.id)),
        wait: call.wait(),
    };
    app.operations().perform(intent).await
}
