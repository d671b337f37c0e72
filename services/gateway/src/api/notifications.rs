//! E-mails that were sent.

use axum::Json;
use axum::extract::State;

use super::extract::{Asked, Paging};
use super::principal::Member;
use crate::app::App;
use crate::error::Error;
use crate::problem;
use crate::store::notifications::{Notification, of_user};
use crate::store::page::Page;

/// The e-mails that were sent to you, the newest first.
#[utoipa::path(
    get, path = "/v1/me/notifications", tag = "notifications", operation_id = "listMyNotifications",
    params(Paging),
    security(("bearer" = [])),
    responses(
        (status = OK, body = Page<Notification>),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn mine(
    State(app): State<App>,
    member: Member,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Notification>>, Error> {
    let page = of_user(app.pool(), member.id, paging.cut()?).await?;
    Ok(Json(page))
}
