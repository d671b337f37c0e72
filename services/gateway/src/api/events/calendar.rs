//! An event as a calendar entry.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::api::extract::Id;
use crate::api::principal::Anyone;
use crate::app::App;
use crate::calendar::{CONTENT_TYPE, entry};
use crate::error::Error;
use crate::store::events;

/// Show an event as a calendar entry (iCalendar, RFC 5545).
///
/// A calendar that imports the entry again replaces the previous version.
#[utoipa::path(
    get, path = "/v1/events/{id}/calendar.ics", tag = "events", operation_id = "showCalendarEntry",
    params(("id" = Uuid, Path)),
    security((), ("bearer" = [])),
    responses((status = OK, body = String, content_type = "text/calendar")),
)]
pub(in crate::api) async fn calendar_entry(
    State(app): State<App>,
    anyone: Anyone,
    Id(id): Id,
) -> Result<Response, Error> {
    let event = events::find(app.pool(), id, anyone.viewer()).await?;
    let event = event.ok_or(Error::NotFound)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE)),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment; filename=\"event.ics\""),
        ),
    ];
    Ok((headers, entry(&event)).into_response())
}
