//! What people attend.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use contracts::{CancelEvent, CreateEvent, EventCommand, PublishEvent};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{answer, versioned};
use super::extract::{Asked, Call, Id, Nothing, Paging, Write, WriteHeaders};
use super::form::Form;
use super::operations::OperationView;
use super::principal::{Anyone, Organizer};
use crate::app::App;
use crate::error::Error;
use crate::operations::Intent;
use crate::problem;
use crate::store::events::{self, Availability, Event};
use crate::store::operations::Kind;
use crate::store::page::Page;

/// An event to be drafted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEvent {
    #[schema(max_length = 200)]
    title: String,
    /// Markdown.
    #[serde(default)]
    #[schema(max_length = 20_000)]
    description: String,
    #[serde(default)]
    #[schema(max_length = 200)]
    venue: String,
    #[schema(format = DateTime)]
    starts_at: String,
    /// After the start.
    #[schema(format = DateTime)]
    ends_at: String,
    /// IANA name of the venue's time zone.
    #[schema(examples("Europe/Berlin"))]
    time_zone: String,
    /// Number of seats.
    #[schema(minimum = 1, maximum = 1_000_000)]
    capacity: i32,
    /// Not after the start; else the start.
    #[schema(format = DateTime)]
    registration_closes_at: Option<String>,
    /// Whether people may wait for a seat when all are taken.
    #[serde(default)]
    waiting_list: bool,
}

/// What is not the event service's to say: whether the texts are times, and whether there is such a time zone.
fn parse(new: NewEvent) -> Result<CreateEvent, Error> {
    let mut form = Form::default();
    let starts_at = form.time("starts_at", &new.starts_at);
    let ends_at = form.time("ends_at", &new.ends_at);
    form.time_zone("time_zone", &new.time_zone);
    let registration_closes_at = match &new.registration_closes_at {
        Some(text) => form.time("registration_closes_at", text),
        None => starts_at,
    };
    form.finish()?;
    Ok(CreateEvent {
        title: new.title,
        description: new.description,
        venue: new.venue,
        starts_at,
        ends_at,
        time_zone: new.time_zone,
        capacity: new.capacity,
        registration_closes_at,
        waiting_list: new.waiting_list,
        registration_opens_at: None,
    })
}

/// Draft an event. Nobody else sees it until it is published.
#[utoipa::path(
    post, path = "/v1/events", tag = "events", operation_id = "createEvent",
    params(WriteHeaders), request_body = NewEvent,
    security(("bearer" = [])),
    responses(
        (status = CREATED, body = Event, headers(("Location", description = "/v1/events/{id}"))),
        (status = ACCEPTED, body = OperationView, headers(("Location", description = "/v1/operations/{id}"))),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn create(
    State(app): State<App>,
    organizer: Organizer,
    Write { body, call }: Write<NewEvent>,
) -> Result<Response, Error> {
    let create = parse(body)?;
    command(
        &app,
        &call,
        organizer.id,
        Kind::CreateEvent,
        Uuid::now_v7(),
        create.into(),
    )
    .await
}

/// Published events, by their start.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "listEvents",
    params(Paging),
    responses(
        (status = OK, body = Page<Event>),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(app): State<App>,
    _: Anyone,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Event>>, Error> {
    let page = events::published(app.pool(), paging.cut()?).await?;
    Ok(Json(page))
}

/// An event. A draft is there for its organizer alone.
#[utoipa::path(
    get, path = "/v1/events/{id}", tag = "events", operation_id = "showEvent",
    params(("id" = Uuid, Path)),
    security((), ("bearer" = [])),
    responses(
        (status = OK, body = Event, headers(("ETag", description = "For `If-Match`"))),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn show(State(app): State<App>, anyone: Anyone, Id(id): Id) -> Result<Response, Error> {
    let event = events::find(app.pool(), id, anyone.id())
        .await?
        .ok_or(Error::NotFound)?;
    Ok(versioned(event.version, event))
}

/// Publish your draft, so that people can register.
#[utoipa::path(
    post, path = "/v1/events/{id}/publish", tag = "events", operation_id = "publishEvent",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The ETag that you have seen"), WriteHeaders),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Event),
        (status = ACCEPTED, body = OperationView, headers(("Location", description = "/v1/operations/{id}"))),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn publish(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { call, .. }: Write<Nothing>,
) -> Result<Response, Error> {
    command(
        &app,
        &call,
        organizer.id,
        Kind::PublishEvent,
        id,
        PublishEvent {}.into(),
    )
    .await
}

/// Why an event is cancelled.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cancellation {
    /// Those who registered read it.
    #[serde(default)]
    #[schema(max_length = 500)]
    reason: String,
}

/// Cancel your event: every registration ends.
#[utoipa::path(
    post, path = "/v1/events/{id}/cancel", tag = "events", operation_id = "cancelEvent",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The ETag that you have seen"), WriteHeaders),
    request_body = Option<Cancellation>,
    security(("bearer" = [])),
    responses(
        (status = OK, body = Event),
        (status = ACCEPTED, body = OperationView, headers(("Location", description = "/v1/operations/{id}"))),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn cancel(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { body, call }: Write<Cancellation>,
) -> Result<Response, Error> {
    let cancel = CancelEvent { reason: body.reason };
    command(&app, &call, organizer.id, Kind::CancelEvent, id, cancel.into()).await
}

/// How many seats there are, and how many are left.
#[utoipa::path(
    get, path = "/v1/events/{id}/availability", tag = "events", operation_id = "showAvailability",
    params(("id" = Uuid, Path)),
    security((), ("bearer" = [])),
    responses(
        (status = OK, body = Availability),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn availability(
    State(app): State<App>,
    anyone: Anyone,
    Id(id): Id,
) -> Result<Json<Availability>, Error> {
    let availability = events::availability(app.pool(), id, anyone.id()).await?;
    availability.map(Json).ok_or(Error::NotFound)
}

/// Whether it is this organizer's event is the event service's to say.
async fn command(
    app: &App,
    call: &Call,
    organizer: Uuid,
    kind: Kind,
    id: Uuid,
    command: EventCommand,
) -> Result<Response, Error> {
    let intent = Intent {
        id: Uuid::now_v7(),
        kind,
        principal: Some(organizer),
        key: id,
        command,
        resource_id: id,
        expected_version: call.expected_version,
        password_hash: None,
        idempotency: call.idempotency(Some(organizer)),
        wait: call.wait(),
    };
    let operation = app.operations().perform(intent).await?;
    answer(app, call, organizer, operation).await
}
