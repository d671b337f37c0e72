//! E-mails that were sent.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{Asked, Paging};
use super::form::Form;
use super::principal::Member;
use crate::app::App;
use crate::error::Error;
use crate::store::notifications::{Filter, Notification, NotificationKind, of_user};
use crate::store::page::{List, Page};

/// Which mails; what is left out does not narrow the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Search {
    /// About this event.
    #[param(format = Uuid)]
    event_id: Option<String>,
    #[param(inline)]
    kind: Option<NotificationKind>,
    /// `next` of the page before, of the same search.
    cursor: Option<String>,
    /// Items on a page, from 1 to 200; else 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// The e-mails that were sent to you, the newest first.
#[utoipa::path(
    get, path = "/v1/me/notifications", tag = "notifications", operation_id = "listMyNotifications",
    params(Search),
    security(("bearer" = [])),
    responses((status = OK, body = Page<Notification>)),
)]
pub(super) async fn mine(
    State(app): State<App>,
    member: Member,
    Asked(search): Asked<Search>,
) -> Result<Json<Page<Notification>>, Error> {
    let mut form = Form::default();
    let filter = Filter {
        event: search.event_id.map(|text| form.uuid("event_id", &text)),
        kind: search.kind,
    };
    form.finish()?;
    let paging = Paging {
        cursor: search.cursor,
        limit: search.limit,
    };
    let cut = paging.cut_of(List::new("notifications", &(member.id, filter)))?;
    let page = of_user(app.pool(), member.id, filter, cut).await?;
    Ok(Json(page))
}
