//! Finding events.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::extract::{Asked, Paging};
use crate::api::form::Form;
use crate::api::principal::Anyone;
use crate::app::App;
use crate::error::Error;
use crate::store::events::{self, Event, EventStatus, Filter};
use crate::store::page::{List, Page};

const LONGEST_TEXT: usize = 200;

/// Which events; what is left out does not narrow the search.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Search {
    /// Words in title, description or venue, in any order and in upper or lower case; `"…"` for a phrase, `or`, and
    /// `-` before a word that must not be there.
    #[param(min_length = 1, max_length = 200, example = "engines -difference")]
    text: Option<String>,
    /// Earliest start.
    #[param(format = DateTime)]
    from: Option<String>,
    /// The start is before this.
    #[param(format = DateTime)]
    until: Option<String>,
    #[param(format = Uuid)]
    organizer: Option<String>,
    /// Else the published ones. Drafts are your own, or an admin's to see.
    #[param(inline)]
    status: Option<EventStatus>,
    /// Whether a seat can be had.
    has_seats: Option<bool>,
    /// `next` of the page before, of the same search.
    cursor: Option<String>,
    /// Items on a page, from 1 to 200; else 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

impl Search {
    fn parse(self) -> Result<(Filter, Paging), Error> {
        let mut form = Form::default();
        if let Some(text) = &self.text {
            let length = text.chars().count();
            let fits = (1..=LONGEST_TEXT).contains(&length);
            form.check(fits, "text", "out-of-range", "1 to 200 characters.");
        }
        let filter = Filter {
            status: self.status.unwrap_or(EventStatus::Published),
            text: self.text,
            from: self.from.map(|text| form.time("from", &text).to_utc()),
            until: self.until.map(|text| form.time("until", &text).to_utc()),
            organizer: self.organizer.map(|text| form.uuid("organizer", &text)),
            has_seats: self.has_seats,
        };
        form.finish()?;
        let paging = Paging {
            cursor: self.cursor,
            limit: self.limit,
        };
        Ok((filter, paging))
    }
}

/// Find events, in the order of their starts.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "listEvents",
    params(Search),
    security((), ("bearer" = [])),
    responses((status = OK, body = Page<Event>)),
)]
pub(in crate::api) async fn list(
    State(app): State<App>,
    anyone: Anyone,
    Asked(search): Asked<Search>,
) -> Result<Json<Page<Event>>, Error> {
    let (filter, paging) = search.parse()?;
    let cut = paging.cut_of(List::new("events", &filter))?;
    let page = events::list(app.pool(), anyone.viewer(), &filter, cut).await?;
    Ok(Json(page))
}
