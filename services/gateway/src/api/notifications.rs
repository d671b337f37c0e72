//! The e-mails that were sent to a user.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{Paging, QueryParams};
use super::form::Form;
use super::principal::Member;
use crate::app::App;
use crate::error::Error;
use crate::store::notifications::{Filter, Notification, NotificationKind, of_user};
use crate::store::page::{List, Page};

/// Filters of the list. An omitted filter does not narrow the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NotificationSearch {
    /// Id of the event that the e-mails are about.
    #[param(format = Uuid)]
    event_id: Option<String>,
    #[param(inline)]
    kind: Option<NotificationKind>,
    /// `next` of the previous page of the same search.
    cursor: Option<String>,
    /// Maximum number of items on the page, from 1 to 200. The default is 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// List the e-mails that were sent to you, newest first.
#[utoipa::path(
    get, path = "/v1/me/notifications", tag = "notifications", operation_id = "listMyNotifications",
    params(NotificationSearch),
    security(("bearer" = [])),
    responses((status = OK, body = Page<Notification>)),
)]
pub(super) async fn list_mine(
    State(app): State<App>,
    member: Member,
    QueryParams(search): QueryParams<NotificationSearch>,
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
    let page_request = paging.page_request_for(List::new("notifications", &(member.id, filter)))?;
    let page = of_user(app.pool(), member.id, filter, page_request).await?;
    Ok(Json(page))
}
