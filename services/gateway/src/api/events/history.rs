//! What happened to an event, and how it was then.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::own;
use crate::api::extract::{Asked, Id, Paging};
use crate::api::form::{Form, fault};
use crate::api::principal::Organizer;
use crate::app::App;
use crate::error::Error;
use crate::store::events::Event;
use crate::store::history::{self, Entry, Moment};
use crate::store::page::{List, Page};

/// The whole history, or one moment of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Look {
    /// The event as it was at this version.
    #[param(minimum = 1)]
    version: Option<i64>,
    /// The event as it was at this time.
    #[param(format = DateTime)]
    at: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Items on a page, from 1 to 200; else 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// What happened, from the first on; with `version` or `at`, the event as it was then.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "says in the document what is answered")]
pub(in crate::api) enum History {
    Entries(Page<Entry>),
    State(Box<Event>),
}

impl Look {
    fn parse(self) -> Result<(Option<Moment>, Paging), Error> {
        let mut form = Form::default();
        let at = self.at.map(|text| form.time("at", &text).to_utc());
        if let Some(version) = self.version {
            form.check(version >= 1, "version", "out-of-range", "From 1 on.");
        }
        let moments = usize::from(self.version.is_some()) + usize::from(at.is_some());
        let alone = moments == 0 || (moments == 1 && self.cursor.is_none() && self.limit.is_none());
        if !alone {
            let field = if moments > 1 { "at" } else { "cursor" };
            form.add(fault(field, "excluded", "One of `version`, `at`, or a page."));
        }
        form.finish()?;
        let paging = Paging {
            cursor: self.cursor,
            limit: self.limit,
        };
        Ok((self.version.map(Moment::Version).or(at.map(Moment::At)), paging))
    }
}

/// What happened to your event, from the first on; with `version` or `at`, the event as it was then.
#[utoipa::path(
    get, path = "/v1/events/{id}/history", tag = "events", operation_id = "showEventHistory",
    params(("id" = Uuid, Path), Look),
    security(("bearer" = [])),
    responses((status = OK, body = History)),
)]
pub(in crate::api) async fn history(
    State(app): State<App>,
    organizer: Organizer,
    Id(id): Id,
    Asked(look): Asked<Look>,
) -> Result<Response, Error> {
    let (moment, paging) = look.parse()?;
    let cut = paging.cut_of(List::new("history", &id))?;
    own(&app, &organizer, id).await?;
    match moment {
        None => Ok(Json(history::of_event(app.pool(), id, cut).await?).into_response()),
        Some(moment) => {
            let state: Option<Value> = history::state(app.pool(), id, moment).await?;
            Ok(Json(state.ok_or(Error::NotFound)?).into_response())
        }
    }
}
