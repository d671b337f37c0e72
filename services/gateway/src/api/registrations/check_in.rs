//! At the door.

use axum::extract::State;
use axum::response::Response;
use contracts::CheckIn;
use serde::Deserialize;
use utoipa::ToSchema;

use super::respond;
use crate::api::extract::{Id, Write, WriteHeaders};
use crate::api::operations::OperationView;
use crate::api::principal::Member;
use crate::app::App;
use crate::error::Error;
use crate::store::operations::Kind;
use crate::store::registrations::{self, Registration};

/// What the ticket shows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TicketCode, example = json!({ "code": "MZXW6YTBOJTG633C" }))]
pub(in crate::api) struct Shown {
    /// In upper or lower case.
    #[schema(min_length = 16, max_length = 16, pattern = "^[A-Za-z2-7]{16}$")]
    code: String,
}

/// Let in who shows a ticket: as the organizer, or as staff that the organizer named. From two hours before the start
/// until the end, once.
#[utoipa::path(
    post, path = "/v1/registrations/{id}/check-in", tag = "registrations", operation_id = "checkIn",
    params(("id" = Uuid, Path), WriteHeaders), request_body = Shown,
    security(("bearer" = [])),
    responses(
        (status = OK, body = Registration),
        (status = ACCEPTED, body = OperationView),
    ),
)]
pub(in crate::api) async fn check_in(
    State(app): State<App>,
    member: Member,
    Id(id): Id,
    Write { body, call }: Write<Shown>,
) -> Result<Response, Error> {
    let viewer = member.viewer();
    let Some(registration) = registrations::find_for_check_in(app.pool(), id, viewer).await? else {
        // Nobody lets in themselves, but one's own registration is there.
        return match registrations::find(app.pool(), id, viewer).await? {
            Some(_) => Err(Error::NotYours),
            None => Err(Error::NotFound),
        };
    };
    if !app.tickets().is_genuine(id, &body.code) {
        return Err(Error::TicketInvalid);
    }
    let check_in = CheckIn { registration_id: id };
    let (key, kind) = (registration.event_id, Kind::CheckIn);
    respond(&app, &call, &member, kind, key, id, check_in).await
}
