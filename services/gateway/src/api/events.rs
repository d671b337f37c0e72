//! Events: drafting, changing, publishing and finding them.

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

use super::extract::{EmptyBody, Id, Write, WriteHeaders, WriteOptions};
use super::operations::OperationView;
use super::principal::{Anyone, Organizer};
use super::respond::{perform, versioned};
use crate::app::App;
use crate::error::Error;
use crate::principal::Principal;
use crate::store::events::{self, Availability, Event};
use crate::store::operations::Kind;
use form::{Cancellation, EventChanges, NewEvent, NewTimes};

pub(super) use announcements::*;
pub(super) use calendar::*;
pub(super) use history::*;
pub(super) use list::*;
pub(super) use staff::*;

/// Create a draft of an event.
///
/// Other users cannot see the event until it is published.
#[utoipa::path(
    post, path = "/v1/events", tag = "events", operation_id = "createEvent",
    params(WriteHeaders), request_body = NewEvent,
    security(("bearer" = [])),
    responses(
        (status = CREATED, body = Event, headers(("Location", description = "/v1/events/{id}"), ("ETag", description = "Version of the resource, for `If-Match`"))),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(super) async fn create(
    State(app): State<App>,
    organizer: Organizer,
    Write { body, options }: Write<NewEvent>,
) -> Result<Response, Error> {
    let create = body.parse()?;
    perform_command(&app, &options, &organizer, Kind::CreateEvent, Uuid::now_v7(), create).await
}

/// Show an event.
///
/// Only the organizer and admins can see a draft.
#[utoipa::path(
    get, path = "/v1/events/{id}", tag = "events", operation_id = "showEvent",
    params(("id" = Uuid, Path)),
    security((), ("bearer" = [])),
    responses((status = OK, body = Event, headers(("ETag", description = "Version of the resource, for `If-Match`")))),
)]
pub(super) async fn show(State(app): State<App>, anyone: Anyone, Id(id): Id) -> Result<Response, Error> {
    let event = app.event_reads().find(id, anyone.viewer()).await?;
    let event = event.ok_or(Error::NotFound)?;
    Ok(versioned(event.version, event))
}

/// Change your event. Omitted fields keep their value.
///
/// The times of a published event cannot be changed here: reschedule it instead. If the number of seats is reduced,
/// confirmed registrations keep their seats.
#[utoipa::path(
    patch, path = "/v1/events/{id}", tag = "events", operation_id = "changeEvent",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "`ETag` of the version that the change is based on. The response is `412` if the resource has changed since"), WriteHeaders),
    request_body = Option<EventChanges>,
    security(("bearer" = [])),
    responses(
        (status = OK, body = Event, headers(("ETag", description = "Version of the resource, for `If-Match`"))),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(super) async fn change(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { body, options }: Write<EventChanges>,
) -> Result<Response, Error> {
    let change = body.parse()?;
    perform_command(&app, &options, &organizer, Kind::ChangeEvent, id, change).await
}

/// Publish your draft so that users can register for the event.
#[utoipa::path(
    post, path = "/v1/events/{id}/publish", tag = "events", operation_id = "publishEvent",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "`ETag` of the version that the change is based on. The response is `412` if the resource has changed since"), WriteHeaders),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Event, headers(("ETag", description = "Version of the resource, for `If-Match`"))),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(super) async fn publish(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { options, .. }: Write<EmptyBody>,
) -> Result<Response, Error> {
    perform_command(&app, &options, &organizer, Kind::PublishEvent, id, PublishEvent {}).await
}

/// Reschedule your published event.
///
/// Everyone with a seat or a position on the waiting list is notified.
#[utoipa::path(
    post, path = "/v1/events/{id}/reschedule", tag = "events", operation_id = "rescheduleEvent",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "`ETag` of the version that the change is based on. The response is `412` if the resource has changed since"), WriteHeaders),
    request_body = NewTimes,
    security(("bearer" = [])),
    responses(
        (status = OK, body = Event, headers(("ETag", description = "Version of the resource, for `If-Match`"))),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(super) async fn reschedule(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { body, options }: Write<NewTimes>,
) -> Result<Response, Error> {
    let reschedule = body.parse()?;
    perform_command(&app, &options, &organizer, Kind::RescheduleEvent, id, reschedule).await
}

/// Cancel your event and all registrations for it.
#[utoipa::path(
    post, path = "/v1/events/{id}/cancel", tag = "events", operation_id = "cancelEvent",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "`ETag` of the version that the change is based on. The response is `412` if the resource has changed since"), WriteHeaders),
    request_body = Option<Cancellation>,
    security(("bearer" = [])),
    responses(
        (status = OK, body = Event, headers(("ETag", description = "Version of the resource, for `If-Match`"))),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(super) async fn cancel(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { body, options }: Write<Cancellation>,
) -> Result<Response, Error> {
    let cancel = body.parse()?;
    perform_command(&app, &options, &organizer, Kind::CancelEvent, id, cancel).await
}

/// Show the number of seats and how many of them are available.
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

/// Returns the event if the organizer owns it, or is an admin.
///
/// # Errors
/// Returns [`Error::NotFound`] otherwise.
pub(super) async fn find_own(app: &App, organizer: &Principal, id: Uuid) -> Result<Event, Error> {
    let viewer = organizer.viewer();
    let event = events::find(app.pool(), id, viewer).await?;
    event
        .filter(|event| viewer.may_see(event.organizer_id))
        .ok_or(Error::NotFound)
}

/// Performs a command of an organizer on an event. The event service checks that they own the event.
async fn perform_command(
    app: &App,
    options: &WriteOptions,
    organizer: &Principal,
    kind: Kind,
    id: Uuid,
    command: impl Into<EventCommand>,
) -> Result<Response, Error> {
    let intent = options.intent::<EventCommand>(organizer, kind, id, command);
    let intent = intent.expected_version(options.expected_version);
    perform(app, options, organizer, intent).await
}
