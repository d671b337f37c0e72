//! The ticket that an attendee with a seat shows at the entrance.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::content_negotiation::preferred;
use crate::api::extract::Id;
use crate::api::principal::Member;
use crate::app::App;
use crate::error::Error;
use crate::store::registrations::{self, EventSummary, RegistrationStatus};

const JSON: &str = "application/json";
const SVG: &str = "image/svg+xml";

/// The ticket of a registration. It is valid while the registration holds a seat.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Ticket {
    registration_id: Uuid,
    /// 16 characters from `A` to `Z` and `2` to `7`.
    #[schema(
        min_length = 16,
        max_length = 16,
        pattern = "^[A-Z2-7]{16}$",
        examples("MZXW6YTBOJTG633C")
    )]
    code: String,
    /// Content of the QR code: the registration and the code.
    #[schema(examples("rollcall:0193b0a8-6f62-7cc0-b3ff-4a1a2f1c2d3e:MZXW6YTBOJTG633C"))]
    qr: String,
    status: RegistrationStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventSummary>,
}

/// Show your ticket, as JSON, or as a QR code with `Accept: image/svg+xml`.
#[utoipa::path(
    get, path = "/v1/registrations/{id}/ticket", tag = "registrations", operation_id = "showTicket",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses(
        (status = OK, content((Ticket = "application/json"), (String = "image/svg+xml")), headers(("Vary", description = "Accept"))),
    ),
)]
pub(in crate::api) async fn ticket(
    State(app): State<App>,
    member: Member,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let registration = registrations::find(app.pool(), id, member.viewer()).await?;
    // Only the attendee can see the ticket, because anyone who has it can be checked in with it.
    let registration = registration.filter(|registration| registration.user_id == member.id);
    let registration = registration.ok_or(Error::NotFound)?;
    match registration.status {
        RegistrationStatus::Confirmed | RegistrationStatus::CheckedIn => {}
        RegistrationStatus::Waitlisted | RegistrationStatus::Cancelled => return Err(Error::NoSeat),
    }
    let code = app.tickets().code(id);
    let qr = format!("rollcall:{id}:{code}");
    let mut response = match preferred(&headers, &[JSON, SVG]) {
        SVG => ([(header::CONTENT_TYPE, HeaderValue::from_static(SVG))], qr_code(&qr)).into_response(),
        _ => Json(Ticket {
            registration_id: id,
            code,
            qr,
            status: registration.status,
            event: registration.event,
        })
        .into_response(),
    };
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Returns the QR code of a string as SVG.
fn qr_code(text: &str) -> String {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).expect("a QR code can hold 70 characters");
    code.render::<svg::Color<'_>>().min_dimensions(240, 240).build()
}
