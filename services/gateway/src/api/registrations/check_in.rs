//! Check-in at the entrance of an event.

use axum::extract::State;
use axum::response::Response;
use contracts::{CheckIn, RegistrationCommand};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::extract::{Id, Write, WriteHeaders};
use crate::api::operations::OperationView;
use crate::api::principal::Member;
use crate::api::respond::perform;
use crate::app::App;
use crate::error::Error;
use crate::store::operations::Kind;
use crate::store::registrations::{self, Registration};

/// The code on a ticket.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "code": "MZXW6YTBOJTG633C" }))]
pub(in crate::api) struct TicketCode {
    /// In upper or lower case letters.
    #[schema(min_length = 16, max_length = 16, pattern = "^[A-Za-z2-7]{16}$")]
    code: String,
}

/// Check in an attendee, as the organizer or the staff of the event.
///
/// Check-in is open from two hours before the start until the end of the event. Each ticket can be used once.
#[utoipa::path(
    post, path = "/v1/registrations/{id}/check-in", tag = "registrations", operation_id = "checkIn",
    params(("id" = Uuid, Path), WriteHeaders), request_body = TicketCode,
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
    Write { body, options }: Write<TicketCode>,
) -> Result<Response, Error> {
    let viewer = member.viewer();
    let Some(registration) = registrations::find_for_check_in(app.pool(), id, viewer).await? else {
        // Attendees cannot check in their own registration, although they can see it.
        return match registrations::find(app.pool(), id, viewer).await? {
            Some(_) => Err(Error::CheckInForbidden),
            None => Err(Error::NotFound),
        };
    };
    if !app.tickets().is_genuine(id, &body.code) {
        return Err(Error::TicketInvalid);
    }
    let check_in = CheckIn { registration_id: id };
    let intent = options
        .intent::<RegistrationCommand>(&member, Kind::CheckIn, id, check_in)
        .aggregate(registration.event_id);
    perform(&app, &options, &member, intent).await
}
