//! What services list of themselves, page by page.

use contracts::OpsCommand;
use serde::Serialize;
use serde_json::{Value, json};

use crate::operation::{Answer, Asking, Operation, Said, live_services};
use crate::output::{Output, counted, table_of};
use crate::{Error, Outcome};

/// Rows on a page, at most.
const PAGE: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Listing {
    /// Only this service; else every one that runs
    service: Option<String>,
    /// Rows of each service, at most
    #[arg(long, value_name = "ROWS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    asking: Asking,
}

/// How a list looks.
pub(crate) struct Shape {
    /// The columns that people see, where a row has them.
    pub(crate) columns: &'static [&'static str],
    /// What a row is, e.g. `dead letter`.
    pub(crate) noun: &'static str,
}

/// What one service has.
#[derive(Default)]
struct Rows {
    rows: Vec<Value>,
    /// Where the next page begins, if there is one.
    cursor: Option<String>,
}

/// All that services answered.
#[derive(Debug, Serialize)]
struct Listed {
    /// Each with its service.
    rows: Vec<Value>,
    /// Services that have more than was asked for.
    more: Vec<String>,
    /// Those that did not answer, or with a no.
    unanswered: Vec<Answer>,
}

/// Asks for every page, and shows all of them. That there are rows is a no: there is something to do.
pub(crate) async fn list(
    listing: &Listing,
    output: Output,
    shape: &Shape,
    question: impl Fn(String, Option<String>, i32) -> OpsCommand,
) -> Result<Outcome, Error> {
    let listed = gather(listing, question).await?;
    output.answer(&listed, || text(&listed, shape));
    let trouble = listed
        .unanswered
        .iter()
        .find(|answer| matches!(answer.outcome, Said::Silent | Said::Unreadable));
    if let Some(answer) = trouble {
        return Err(Error::without_source(answer.refusal()));
    }
    Ok(match listed.rows.is_empty() && listed.unanswered.is_empty() {
        true => Outcome::Yes,
        false => Outcome::No,
    })
}

async fn gather(
    listing: &Listing,
    question: impl Fn(String, Option<String>, i32) -> OpsCommand,
) -> Result<Listed, Error> {
    let mut services = live_services(&listing.asking).await?;
    if let Some(wanted) = &listing.service {
        services.retain(|service| service == wanted);
    }
    if services.is_empty() {
        let who = listing
            .service
            .as_deref()
            .map_or(String::new(), |service| format!(" of {service}"));
        return Err(Error::without_source(format!(
            "no process{who} is running; see `rollcall status`"
        )));
    }
    let limit = usize::try_from(listing.limit).unwrap_or(usize::MAX);
    let mut found: Vec<(String, Rows)> = services.into_iter().map(|service| (service, Rows::default())).collect();
    let mut operation = Operation::begin(&listing.asking)?;
    let mut unanswered = Vec::new();
    let mut asked: Vec<usize> = (0..found.len()).collect();
    while !asked.is_empty() {
        let questions = asked.iter().map(|index| {
            let (service, so_far) = &found[*index];
            let left = i32::try_from(PAGE.min(limit - so_far.rows.len())).unwrap_or(i32::MAX);
            (service.clone(), question(service.clone(), so_far.cursor.clone(), left))
        });
        let answers = operation.ask_all(questions.collect()).await?;
        let mut again = Vec::new();
        for (index, answer) in asked.into_iter().zip(answers) {
            if !answer.is_accepted() {
                unanswered.push(answer);
            } else if found[index].1.take(answer.result, limit) {
                again.push(index);
            }
        }
        asked = again;
    }
    let more = found
        .iter()
        .filter(|(_, rows)| rows.cursor.is_some())
        .map(|(service, _)| service.clone())
        .collect();
    let rows = found
        .into_iter()
        .flat_map(|(service, rows)| rows.rows.into_iter().map(move |row| with_service(&service, row)));
    Ok(Listed {
        rows: rows.collect(),
        more,
        unanswered,
    })
}

impl Rows {
    /// Whether to ask for the next page. One that is empty, or that leads to itself, is the last.
    fn take(&mut self, page: Value, limit: usize) -> bool {
        let cursor = page.get("cursor").and_then(Value::as_str).map(str::to_owned);
        let rows = rows_of(page);
        let goes_on = !rows.is_empty() && cursor.is_some() && cursor != self.cursor;
        self.rows.extend(rows);
        self.cursor = cursor.filter(|_| goes_on);
        goes_on && self.rows.len() < limit
    }
}

/// The rows of a page: the list in it, or whatever it is.
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

fn text(listed: &Listed, shape: &Shape) -> String {
    let mut parts = Vec::new();
    if !listed.rows.is_empty() {
        parts.push(table_of(&listed.rows, shape.columns));
    }
    parts.extend(listed.unanswered.iter().map(Answer::refusal));
    parts.push(match listed.more.as_slice() {
        [] => counted(listed.rows.len(), shape.noun),
        more => format!(
            "{}, and there are more at: {}",
            counted(listed.rows.len(), shape.noun),
            more.join(", ")
        ),
    });
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_asked_for_up_to_the_limit() {
        let mut rows = Rows::default();
        let page = |cursor: Option<&str>| json!({ "rows": [{ "a": 1 }, { "a": 2 }], "cursor": cursor });
        assert!(rows.take(page(Some("2")), 5));
        assert!(rows.take(page(Some("4")), 5));
        assert!(!rows.take(page(Some("6")), 5));
        assert_eq!((rows.rows.len(), rows.cursor.as_deref()), (6, Some("6")));
        assert!(!rows.take(page(None), 100));
        assert_eq!(rows.cursor, None);
    }

    #[test]
    fn a_page_that_leads_to_itself_or_is_empty_is_the_last() {
        let mut rows = Rows::default();
        assert!(rows.take(json!({ "rows": [1], "cursor": "x" }), 9));
        assert!(!rows.take(json!({ "rows": [1], "cursor": "x" }), 9));
        assert!(!rows.take(json!({ "rows": [], "cursor": "y" }), 9));
        assert_eq!(rows.rows.len(), 2);
    }

    #[test]
    fn whatever_a_page_is_has_rows() {
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
