//! What an organizer has to say to everybody with a seat.

use axum::extract::State;
use axum::response::Response;
use contracts::Announce;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::respond;
use crate::api::extract::{Id, Write, WriteHeaders};
use crate::api::form::Form;
use crate::api::operations::OperationView;
use crate::api::principal::Organizer;
use crate::app::App;
use crate::error::Error;
use crate::store::operations::Kind;

const SUBJECT: usize = 200;
const BODY: usize = 10_000;

/// A mail to everybody with a seat who has not opted out of such mails.
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

/// Write to everybody with a seat at your event. The mails go out after the answer.
#[utoipa::path(
    post, path = "/v1/events/{id}/announcements", tag = "events", operation_id = "announce",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The ETag that you have seen"), WriteHeaders),
    request_body = Announcement,
    security(("bearer" = [])),
    responses((status = ACCEPTED, body = OperationView)),
)]
pub(in crate::api) async fn announce(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Write { body, call }: Write<Announcement>,
) -> Result<Response, Error> {
    let mut form = Form::default();
    form.title("subject", &body.subject, SUBJECT);
    form.check(
        !body.body.trim().is_empty(),
        "body",
        "required",
        "Something is needed here.",
    );
    form.text("body", &body.body, BODY);
    form.finish()?;
    let announce = Announce {
        announcement_id: Uuid::now_v7(),
        subject: body.subject,
        body: body.body,
    };
    respond(&app, &call, &organizer, Kind::Announce, id, announce).await
}
