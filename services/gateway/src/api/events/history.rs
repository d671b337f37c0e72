//! The history of an event, and its state at an earlier version or time.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::find_own;
use crate::api::extract::{Id, Paging, QueryParams};
use crate::api::form::{Form, field_error};
use crate::api::principal::Organizer;
use crate::app::App;
use crate::error::Error;
use crate::store::events::Event;
use crate::store::history::{self, Entry, Moment};
use crate::store::page::{List, Page};

/// Selects a page of the history, or one state of the event.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct HistoryQuery {
    /// Returns the event as it was at this version.
    #[param(minimum = 1)]
    version: Option<i64>,
    /// Returns the event as it was at this time.
    #[param(format = DateTime)]
    at: Option<String>,
    /// `next` of the previous page.
    cursor: Option<String>,
    /// Maximum number of items on the page, from 1 to 200. The default is 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// A page of the history, oldest first; with `version` or `at`, the event as it was then.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the response in the OpenAPI document")]
pub(in crate::api) enum History {
    Entries(Page<Entry>),
    State(Box<Event>),
}

impl HistoryQuery {
    fn parse(self) -> Result<(Option<Moment>, Paging), Error> {
        let mut form = Form::default();
        let at = self.at.map(|text| form.time("at", &text).to_utc());
        if let Some(version) = self.version {
            form.check(version >= 1, "version", "out-of-range", "Must be at least 1.");
        }
        let moments = usize::from(self.version.is_some()) + usize::from(at.is_some());
        let is_single_selection = moments == 0 || (moments == 1 && self.cursor.is_none() && self.limit.is_none());
        if !is_single_selection {
            let field = if moments > 1 { "at" } else { "cursor" };
            form.add(field_error(
                field,
                "excluded",
                "Must not be combined: send `version`, or `at`, or `cursor` and `limit`.",
            ));
        }
        form.finish()?;
        let paging = Paging {
            cursor: self.cursor,
            limit: self.limit,
        };
        Ok((self.version.map(Moment::Version).or(at.map(Moment::At)), paging))
    }
}

/// Show the history of your event, oldest first; with `version` or `at`, the event as it was then.
#[utoipa::path(
    get, path = "/v1/events/{id}/history", tag = "events", operation_id = "showEventHistory",
    params(("id" = Uuid, Path), HistoryQuery),
    security(("bearer" = [])),
    responses((status = OK, body = History)),
)]
pub(in crate::api) async fn history(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    QueryParams(query): QueryParams<HistoryQuery>,
) -> Result<Response, Error> {
    let (moment, paging) = query.parse()?;
    let page_request = paging.page_request_for(List::new("history", &id))?;
    find_own(&app, &organizer, id).await?;
    match moment {
        None => Ok(Json(history::of_event(app.pool(), id, page_request).await?).into_response()),
        Some(moment) => {
            let state: Option<Value> = history::state(app.pool(), id, moment).await?;
            Ok(Json(state.ok_or(Error::NotFound)?).into_response())
        }
    }
}
