//! Who may check people in, beside the organizer.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use contracts::NameStaff;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{own, respond};
use crate::api::answer::versioned;
use crate::api::extract::{Id, Write, WriteHeaders};
use crate::api::form::Form;
use crate::api::operations::OperationView;
use crate::api::principal::Organizer;
use crate::app::App;
use crate::error::Error;
use crate::store::events::Event;
use crate::store::operations::Kind;

const MOST: usize = 100;

/// Those who may check people in at an event, beside its organizer.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "staff": ["0193b0a8-6f62-7cc0-b3ff-4a1a2f1c2d3e"] }))]
pub(in crate::api) struct Staff {
    /// Ids of users; not the organizer's, who may check people in anyway.
    #[schema(value_type = HashSet<Uuid>, max_items = 100)]
    staff: Vec<Uuid>,
}

impl From<Event> for Staff {
    fn from(event: Event) -> Self {
        Self { staff: event.staff }
    }
}

/// Who may check people in at your event.
#[utoipa::path(
    get, path = "/v1/events/{id}/staff", tag = "events", operation_id = "showStaff",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses((status = OK, body = Staff, headers(("ETag", description = "The event's, for `If-Match`")))),
)]
pub(in crate::api) async fn show_staff(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
) -> Result<Response, Error> {
    let event = own(&app, &organizer, id).await?;
    Ok(versioned(event.version, Staff::from(event)))
}

/// Let exactly these users check people in at your event.
#[utoipa::path(
    put, path = "/v1/events/{id}/staff", tag = "events", operation_id = "nameStaff",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The ETag that you have seen"), WriteHeaders),
    request_body = Staff,
    security(("bearer" = [])),
    responses(
        (status = OK, body = Staff, headers(("ETag", description = "The event's, for `If-Match`"))),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(in crate::api) async fn name_staff(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { body, call }: Write<Staff>,
) -> Result<Response, Error> {
    let mut form = Form::default();
    form.check(body.staff.len() <= MOST, "staff", "too-many", "At most 100 people.");
    let each: BTreeSet<&Uuid> = body.staff.iter().collect();
    form.check(each.len() == body.staff.len(), "staff", "duplicate", "Everybody once.");
    form.finish()?;
    let name = NameStaff { staff: body.staff };
    respond(&app, &call, &organizer, Kind::NameStaff, id, name).await
}
