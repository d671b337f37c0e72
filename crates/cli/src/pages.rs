//! Lists that services return page by page.

use contracts::OpsCommand;
use serde::Serialize;
use serde_json::{Value, json};

use crate::ops::{OpsArguments, OpsReply, OpsSession, ReplyOutcome, live_services};
use crate::output::{Output, counted, table_of};
use crate::{Error, Outcome};

/// Maximum number of rows on a page.
const PAGE: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Listing {
    /// List only this service [default: all running services]
    service: Option<String>,
    /// Maximum number of rows per service
    #[arg(long, value_name = "ROWS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    ops: OpsArguments,
}

/// Layout of a list.
pub(crate) struct Shape {
    /// Columns of the text output. A column that no row has is left out.
    pub(crate) columns: &'static [&'static str],
    /// Name of a row, e.g. `dead letter`.
    pub(crate) noun: &'static str,
}

/// Rows of one service.
#[derive(Default)]
struct Rows {
    rows: Vec<Value>,
    /// Start of the next page, if there is one.
    cursor: Option<String>,
}

/// Rows of all services.
#[derive(Debug, Serialize)]
struct List {
    /// Rows, each with the name of its service.
    rows: Vec<Value>,
    /// Services that have more rows than the limit.
    more: Vec<String>,
    /// Replies that hold no rows: missing, unreadable, rejected or failed.
    unsuccessful: Vec<OpsReply>,
}

/// Requests and prints all pages. Returns [`Outcome::Negative`] if there are rows, because an operator has to handle them.
pub(crate) async fn list(
    listing: &Listing,
    output: Output,
    shape: &Shape,
    request: impl Fn(String, Option<String>, i32) -> OpsCommand,
) -> Result<Outcome, Error> {
    let list = fetch(listing, request).await?;
    output.print(&list, || text(&list, shape));
    let unavailable = list
        .unsuccessful
        .iter()
        .find(|reply| matches!(reply.outcome, ReplyOutcome::NoReply | ReplyOutcome::Unreadable));
    if let Some(reply) = unavailable {
        return Err(Error::without_source(reply.describe_failure()));
    }
    Ok(Outcome::positive_if(
        list.rows.is_empty() && list.unsuccessful.is_empty(),
    ))
}

async fn fetch(listing: &Listing, request: impl Fn(String, Option<String>, i32) -> OpsCommand) -> Result<List, Error> {
    let mut services = live_services(&listing.ops).await?;
    if let Some(wanted) = &listing.service {
        services.retain(|service| service == wanted);
    }
    if services.is_empty() {
        let of_service = listing
            .service
            .as_deref()
            .map_or(String::new(), |service| format!(" of {service}"));
        return Err(Error::without_source(format!(
            "no process{of_service} is running; see `rollcall status`"
        )));
    }
    let limit = usize::try_from(listing.limit).unwrap_or(usize::MAX);
    let mut found: Vec<(String, Rows)> = services.into_iter().map(|service| (service, Rows::default())).collect();
    let mut session = OpsSession::open(&listing.ops)?;
    let mut unsuccessful = Vec::new();
    let mut incomplete: Vec<usize> = (0..found.len()).collect();
    while !incomplete.is_empty() {
        let requests = incomplete.iter().map(|index| {
            let (service, so_far) = &found[*index];
            let left = i32::try_from(PAGE.min(limit - so_far.rows.len())).unwrap_or(i32::MAX);
            (service.clone(), request(service.clone(), so_far.cursor.clone(), left))
        });
        let replies = session.request_all(requests.collect()).await?;
        let mut still_incomplete = Vec::new();
        for (index, reply) in incomplete.into_iter().zip(replies) {
            if !reply.is_accepted() {
                unsuccessful.push(reply);
            } else if found[index].1.append(reply.result, limit) {
                still_incomplete.push(index);
            }
        }
        incomplete = still_incomplete;
    }
    let more = found
        .iter()
        .filter(|(_, rows)| rows.cursor.is_some())
        .map(|(service, _)| service.clone())
        .collect();
    let rows = found
        .into_iter()
        .flat_map(|(service, rows)| rows.rows.into_iter().map(move |row| with_service(&service, row)));
    Ok(List {
        rows: rows.collect(),
        more,
        unsuccessful,
    })
}

impl Rows {
    /// Appends a page. Returns `true` if the next page is to be requested.
    ///
    /// A page that is empty, or whose cursor is that of the previous page, is the last.
    fn append(&mut self, page: Value, limit: usize) -> bool {
        let cursor = page.get("cursor").and_then(Value::as_str).map(str::to_owned);
        let rows = rows_of(page);
        let has_next = !rows.is_empty() && cursor.is_some() && cursor != self.cursor;
        self.rows.extend(rows);
        self.cursor = cursor.filter(|_| has_next);
        has_next && self.rows.len() < limit
    }
}

/// Returns the rows of a page: the first list in it, or the page itself as the only row.
pub(crate) fn rows_of(page: Value) -> Vec<Value> {
    match page {
        Value::Null => Vec::new(),
        Value::Array(rows) => rows,
        Value::Object(fields) => match fields.values().find_map(Value::as_array) {
            Some(rows) => rows.clone(),
            None => vec![Value::Object(fields)],
        },
        scalar => vec![scalar],
    }
}

fn with_service(service: &str, row: Value) -> Value {
    let mut named = json!({ "service": service });
    match row {
        Value::Object(fields) => named.as_object_mut().expect("an object").extend(fields),
        other => named["row"] = other,
    }
    named
}

fn text(list: &List, shape: &Shape) -> String {
    let mut parts = Vec::new();
    if !list.rows.is_empty() {
        parts.push(table_of(&list.rows, shape.columns));
    }
    parts.extend(list.unsuccessful.iter().map(OpsReply::describe_failure));
    let count = counted(list.rows.len(), shape.noun);
    parts.push(match list.more.as_slice() {
        [] => count,
        more => format!("{count}; more at {} (raise --limit)", more.join(", ")),
    });
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_requested_up_to_the_limit() {
        let mut rows = Rows::default();
        let page = |cursor: Option<&str>| json!({ "rows": [{ "a": 1 }, { "a": 2 }], "cursor": cursor });
        assert!(rows.append(page(Some("2")), 5));
        assert!(rows.append(page(Some("4")), 5));
        assert!(!rows.append(page(Some("6")), 5));
        assert_eq!((rows.rows.len(), rows.cursor.as_deref()), (6, Some("6")));
        assert!(!rows.append(page(None), 100));
        assert_eq!(rows.cursor, None);
    }

    #[test]
    fn a_page_that_repeats_its_cursor_or_is_empty_is_the_last() {
        let mut rows = Rows::default();
        assert!(rows.append(json!({ "rows": [1], "cursor": "x" }), 9));
        assert!(!rows.append(json!({ "rows": [1], "cursor": "x" }), 9));
        assert!(!rows.append(json!({ "rows": [], "cursor": "y" }), 9));
        assert_eq!(rows.rows.len(), 2);
    }

    #[test]
    fn a_page_of_any_shape_has_rows() {
        for (page, count) in [
            (json!(null), 0),
            (json!([1, 2]), 2),
            (json!({ "a": 1 }), 1),
            (json!("x"), 1),
            (json!({ "b": [] }), 0),
        ] {
            assert_eq!(rows_of(page.clone()).len(), count, "{page}");
        }
        assert_eq!(
            with_service("user", json!("x")),
            json!({ "service": "user", "row": "x" })
        );
    }
}
