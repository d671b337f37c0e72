//! The list of events, with filters.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::extract::{Paging, QueryParams};
use crate::api::form::Form;
use crate::api::principal::Anyone;
use crate::app::App;
use crate::error::Error;
use crate::store::events::{self, Event, EventStatus, Filter};
use crate::store::page::{List, Page};

/// Maximum length of the search text, in characters.
const MAX_TEXT_CHARS: usize = 200;

/// Filters of the list. An omitted filter does not narrow the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct EventSearch {
    /// Words in the title, the description or the venue, in any order, and in upper or lower case. `"…"` searches for a
    /// phrase, `or` for one of two words, and `-` excludes a word.
    #[param(min_length = 1, max_length = 200, example = "engines -difference")]
    text: Option<String>,
    /// Earliest start, inclusive.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Latest start, exclusive.
    #[param(format = DateTime)]
    until: Option<String>,
    /// Id of the organizer.
    #[param(format = Uuid)]
    organizer: Option<String>,
    /// The default is published events. Only the organizer and admins can see drafts.
    #[param(inline)]
    status: Option<EventStatus>,
    /// `true`: only events with available seats; `false`: only events without.
    has_seats: Option<bool>,
    /// `next` of the previous page of the same search.
    cursor: Option<String>,
    /// Maximum number of items on the page, from 1 to 200. The default is 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

impl EventSearch {
    fn parse(self) -> Result<(Filter, Paging), Error> {
        let mut form = Form::default();
        if let Some(text) = &self.text {
            let length = text.chars().count();
            let fits = (1..=MAX_TEXT_CHARS).contains(&length);
            form.check(fits, "text", "out-of-range", "Must have 1 to 200 characters.");
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

/// Find events, in the order of their start.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "listEvents",
    params(EventSearch),
    security((), ("bearer" = [])),
    responses((status = OK, body = Page<Event>)),
)]
pub(in crate::api) async fn list(
    State(app): State<App>,
    anyone: Anyone,
    QueryParams(search): QueryParams<EventSearch>,
) -> Result<Json<Page<Event>>, Error> {
    let (filter, paging) = search.parse()?;
    let page_request = paging.page_request_for(List::new("events", &filter))?;
    let page = events::list(app.pool(), anyone.viewer(), &filter, page_request).await?;
    Ok(Json(page))
}
