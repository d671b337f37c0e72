//! The staff of an event: users who may check in attendees in addition to the organizer.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use contracts::NameStaff;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{find_own, perform_command};
use crate::api::extract::{Id, Write, WriteHeaders};
use crate::api::form::Form;
use crate::api::operations::OperationView;
use crate::api::principal::Organizer;
use crate::api::respond::versioned;
use crate::app::App;
use crate::error::Error;
use crate::store::events::Event;
use crate::store::operations::Kind;

/// Maximum number of staff of one event.
const MAX_STAFF: usize = 100;

/// The users who may check in attendees of an event, in addition to its organizer.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "staff": ["0193b0a8-6f62-7cc0-b3ff-4a1a2f1c2d3e"] }))]
pub(in crate::api) struct Staff {
    /// Ids of users. The organizer must not be listed, because organizers may always check in attendees.
    #[schema(value_type = HashSet<Uuid>, max_items = 100)]
    staff: Vec<Uuid>,
}

impl From<Event> for Staff {
    fn from(event: Event) -> Self {
        Self { staff: event.staff }
    }
}

/// Show the staff of your event.
#[utoipa::path(
    get, path = "/v1/events/{id}/staff", tag = "events", operation_id = "showStaff",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses((status = OK, body = Staff, headers(("ETag", description = "Version of the event, for `If-Match`")))),
)]
pub(in crate::api) async fn show_staff(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
) -> Result<Response, Error> {
    let event = find_own(&app, &organizer, id).await?;
    Ok(versioned(event.version, Staff::from(event)))
}

/// Set the staff of your event. Users who are not listed lose the right to check in attendees.
#[utoipa::path(
    put, path = "/v1/events/{id}/staff", tag = "events", operation_id = "nameStaff",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "`ETag` of the version that the change is based on. The response is `412` if the resource has changed since"), WriteHeaders),
    request_body = Staff,
    security(("bearer" = [])),
    responses(
        (status = OK, body = Staff, headers(("ETag", description = "Version of the event, for `If-Match`"))),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(in crate::api) async fn name_staff(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { body, options }: Write<Staff>,
) -> Result<Response, Error> {
    let mut form = Form::default();
    form.check(
        body.staff.len() <= MAX_STAFF,
        "staff",
        "too-many",
        "Must have at most 100 entries.",
    );
    let distinct: BTreeSet<&Uuid> = body.staff.iter().collect();
    form.check(
        distinct.len() == body.staff.len(),
        "staff",
        "duplicate",
        "Must not list a user twice.",
    );
    form.finish()?;
    let name = NameStaff { staff: body.staff };
    perform_command(&app, &options, &organizer, Kind::NameStaff, id, name).await
}
