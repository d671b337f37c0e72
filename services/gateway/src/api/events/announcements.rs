//! Announcements of an organizer to all attendees with a seat.

use axum::extract::State;
use axum::response::Response;
use contracts::Announce;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::perform_command;
use crate::api::extract::{Id, Write, WriteHeaders};
use crate::api::form::Form;
use crate::api::operations::OperationView;
use crate::api::principal::Organizer;
use crate::app::App;
use crate::error::Error;
use crate::store::operations::Kind;

/// Maximum length of the subject, in characters.
const MAX_SUBJECT_CHARS: usize = 200;
/// Maximum length of the body, in characters.
const MAX_BODY_CHARS: usize = 10_000;

/// An e-mail to all attendees with a seat, except those who opted out of announcements.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "subject": "Bring a coat", "body": "The hall is *cold*." }))]
pub(in crate::api) struct Announcement {
    /// One line.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\u0000-\u001F\u007F-\u009F]*[^\s\u0000-\u001F\u007F-\u009F][^\u0000-\u001F\u007F-\u009F]*$"
    )]
    subject: String,
    /// Markdown.
    #[schema(
        min_length = 1,
        max_length = 10_000,
        pattern = r"^[^\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F]*[^\s\u0000-\u001F\u007F-\u009F][^\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F]*$"
    )]
    body: String,
}

/// Send an announcement to all attendees with a seat at your event.
///
/// The e-mails are sent after the response.
#[utoipa::path(
    post, path = "/v1/events/{id}/announcements", tag = "events", operation_id = "announce",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "`ETag` of the version that the change is based on. The response is `412` if the resource has changed since"), WriteHeaders),
    request_body = Announcement,
    security(("bearer" = [])),
    responses((status = ACCEPTED, body = OperationView)),
)]
pub(in crate::api) async fn announce(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { body, options }: Write<Announcement>,
) -> Result<Response, Error> {
    let mut form = Form::default();
    form.title("subject", &body.subject, MAX_SUBJECT_CHARS);
    form.not_blank("body", &body.body);
    form.text("body", &body.body, MAX_BODY_CHARS);
    form.finish()?;
    let announce = Announce {
        announcement_id: Uuid::now_v7(),
        subject: body.subject,
        body: body.body,
    };
    perform_command(&app, &options, &organizer, Kind::Announce, id, announce).await
}
