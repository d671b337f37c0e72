//! The attendees of an event, for its organizer.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use sqlx::PgPool;
use uuid::Uuid;

use crate::api::content_negotiation::preferred;
use crate::api::events::find_own;
use crate::api::extract::{Id, Paging, QueryParams};
use crate::api::principal::Organizer;
use crate::app::App;
use crate::csv;
use crate::error::Error;
use crate::store::page::{self, List, Page, PageRequest};
use crate::store::registrations::{self, CancelReason, Registration};

const JSON: &str = "application/json";
const CSV: &str = "text/csv";
/// Number of rows that are read together.
const PAGE_SIZE: u16 = 500;

/// Header row of the CSV file.
const HEADER: [&str; 10] = [
    "registration_id",
    "status",
    "full_name",
    "email",
    "username",
    "registered_at",
    "confirmed_at",
    "checked_in_at",
    "cancelled_at",
    "cancel_reason",
];

/// List the registrations for your event in order, with names and e-mail addresses.
///
/// JSON contains one page. With `Accept: text/csv`, the response contains the whole list.
#[utoipa::path(
    get, path = "/v1/events/{id}/registrations", tag = "registrations", operation_id = "listRegistrations",
    params(("id" = Uuid, Path, description = "Id of the event"), Paging),
    security(("bearer" = [])),
    responses(
        (status = OK, content((Page<Registration> = "application/json"), (String = "text/csv")), headers(("Vary", description = "Accept"))),
    ),
)]
pub(in crate::api) async fn list_attendees(
    State(app): State<App>,
    organizer: Organizer,
    Id(event): Id,
    headers: HeaderMap,
    QueryParams(paging): QueryParams<Paging>,
) -> Result<Response, Error> {
    let list = List::new("registrations at", &event);
    let page_request = paging.page_request_for(list)?;
    find_own(&app, &organizer, event).await?;
    let mut response = match preferred(&headers, &[JSON, CSV]) {
        CSV => csv_file(app.pool(), event, list).await?,
        _ => Json(registrations::of_event(app.pool(), event, page_request).await?).into_response(),
    };
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Returns the whole list as CSV, read as fast as the client receives it.
///
/// The first page is read before the response begins, because an error can only be reported as a problem until then.
async fn csv_file(pool: &PgPool, event: Uuid, list: List) -> Result<Response, Error> {
    let page_request = move |after| PageRequest {
        after,
        limit: PAGE_SIZE,
        list,
    };
    let mut text = String::new();
    csv::line(&mut text, HEADER);
    let first = registrations::of_event(pool, event, page_request(None)).await?;
    let after = append_page(&first, list, &mut text);
    let pool = pool.clone();
    let rest = stream::try_unfold(after, move |after| {
        let pool = pool.clone();
        async move {
            let Some(after) = after else {
                return Ok(None);
            };
            let page = registrations::of_event(&pool, event, page_request(Some(after))).await?;
            let mut text = String::new();
            let after = append_page(&page, list, &mut text);
            Ok::<_, sqlx::Error>(Some((Bytes::from(text), after)))
        }
    });
    let rest = rest.inspect_err(move |error| tracing::error!(%error, %event, "the CSV list of attendees of event {event} was truncated: {error}"));
    let body = Body::from_stream(stream::iter([Ok(Bytes::from(text))]).chain(rest));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(csv::CONTENT_TYPE)),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment; filename=\"registrations.csv\""),
        ),
    ];
    Ok((headers, body).into_response())
}

/// Appends a page to the text. Returns the cursor of the next page, or `None` after the last one.
fn append_page(page: &Page<Registration>, list: List, text: &mut String) -> Option<i64> {
    for registration in &page.items {
        let attendee = registration.attendee.as_ref();
        csv::line(
            text,
            [
                registration.id.to_string().as_str(),
                registration.status.as_str(),
                attendee.map_or("", |attendee| &attendee.full_name),
                attendee.and_then(|attendee| attendee.email.as_deref()).unwrap_or(""),
                attendee.map_or("", |attendee| &attendee.username),
                &time(Some(registration.registered_at)),
                &time(registration.confirmed_at),
                &time(registration.checked_in_at),
                &time(registration.cancelled_at),
                registration.cancel_reason.map_or("", CancelReason::as_str),
            ],
        );
    }
    page::decode(page.next.as_deref()?, list)
}

fn time(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(String::new, |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}
