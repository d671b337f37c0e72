//! Finds entries, newest first.

use contracts::{Actor, FindAuditEntries, Rejection, Timestamp};
use futures::TryStreamExt;
use mongo::{Tx, to_bson};
use mongodb::bson::{self, Bson, Document, doc};
use serde_json::{Value as Json, json};

use super::{
    MAX_PAGE_ROWS, MAX_RESULT_BYTES, QUERY_TIMEOUT, QueryError, all_valid, failure, invalid_cursor, invalid_limit,
};
use crate::entry::{Entry, RecordPosition, hex};
use crate::store::ENTRIES;

pub(super) async fn find(tx: &mut Tx, query: &FindAuditEntries) -> Result<String, QueryError> {
    let search = Search::parse(query)?;
    let found = search.run(tx).await?;
    Ok(page(&found, search.limit, MAX_RESULT_BYTES))
}

/// A valid query.
#[derive(Debug)]
struct Search {
    filter: Document,
    limit: usize,
}

impl Search {
    fn parse(query: &FindAuditEntries) -> Result<Self, Rejection> {
        let cursor = query.cursor.as_deref().map(Cursor::parse);
        let wrong_cursor = matches!(cursor, Some(None)).then(invalid_cursor);
        all_valid(
            invalid_limit(query.limit, MAX_PAGE_ROWS)
                .into_iter()
                .chain(wrong_cursor)
                .collect(),
        )?;
        let mut filter = Document::new();
        let equal = [
            ("key", query.aggregate_id.map(|id| Bson::from(to_bson(id)))),
            ("correlation_id", query.correlation_id.map(|id| Bson::from(to_bson(id)))),
            ("actor", query.actor.as_deref().map(actor_condition)),
            ("type", query.message_type.clone().map(Bson::from)),
        ];
        for (field, value) in equal {
            if let Some(value) = value {
                filter.insert(field, value);
            }
        }
        let mut time = Document::new();
        if let Some(from) = query.from {
            time.insert("$gte", from.as_micros());
        }
        if let Some(until) = query.until {
            time.insert("$lt", until.as_micros());
        }
        if !time.is_empty() {
            filter.insert("time", time);
        }
        if let Some(Some(cursor)) = cursor {
            filter.insert("$and", cursor.older());
        }
        Ok(Self {
            filter,
            limit: usize::try_from(query.limit).unwrap_or(1),
        })
    }

    /// Finds up to one entry more than the page has. An extra entry means that there is a next page.
    async fn run(&self, tx: &mut Tx) -> Result<Vec<Entry>, QueryError> {
        let limit = self.limit + 1;
        let found = tx
            .collection::<Entry>(ENTRIES)
            .find(self.filter.clone())
            .sort(doc! { "time": -1, "_id": -1 })
            // Neither is part of the result, and the value is the largest field.
            .projection(doc! { "value": 0, "headers": 0 })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .batch_size(u32::try_from(limit).unwrap_or(u32::MAX))
            .max_time(QUERY_TIMEOUT)
            .session(tx.session())
            .await;
        let mut found = found.map_err(failure)?;
        found.stream(tx.session()).try_collect().await.map_err(failure)
    }
}

/// Returns the condition for an actor. A user is also found under their admin actor, because it is the same person.
fn actor_condition(actor: &str) -> Bson {
    match actor.parse() {
        Ok(Actor::User(id)) => doc! { "$in": [actor, Actor::Admin(id).to_string()] }.into(),
        _ => actor.into(),
    }
}

/// The last entry of a page. A cursor stays valid when entries are recorded meanwhile, because newer ones precede it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    time: i64,
    position: RecordPosition,
}

impl Cursor {
    fn of(entry: &Entry) -> Self {
        Self {
            time: entry.time,
            position: entry.position.clone(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (time, position) = text.split_once('.')?;
        Some(Self {
            time: time.parse().ok()?,
            position: RecordPosition::parse(position)?,
        })
    }

    /// Returns the conditions for the entries after the cursor.
    fn older(&self) -> Vec<Document> {
        let position = bson::serialize_to_document(&self.position).expect("a position is a document");
        vec![
            // Limits the index scan, which the next condition alone would not do.
            doc! { "time": { "$lte": self.time } },
            doc! { "$or": [{ "time": { "$lt": self.time } }, { "_id": { "$lt": position } }] },
        ]
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.time, self.position)
    }
}

/// Returns a page of at most `max_bytes`. It has fewer entries if they are large.
fn page(found: &[Entry], limit: usize, max_bytes: usize) -> String {
    let rows = found.iter().take(limit).map(|entry| {
        let text = to_json(entry, true).to_string();
        if text.len() < max_bytes {
            text
        } else {
            to_json(entry, false).to_string()
        }
    });
    let rows = super::fitting(rows, max_bytes);
    let has_more = rows.len() < found.len();
    let last = rows.len().checked_sub(1).filter(|_| has_more);
    super::page("entries", &rows, last.map(|last| Cursor::of(&found[last]).to_string()))
}

/// Returns an entry as JSON for a result.
pub(super) fn to_json(entry: &Entry, with_content: bool) -> Json {
    let id = |id: Option<bson::Uuid>| id.map(|id| mongo::from_bson(id).to_string());
    let time = |micros: i64| Timestamp::from_micros(micros).map(|time| time.to_string()).ok();
    let content = entry.content.as_deref().filter(|_| with_content);
    let content: Option<Json> = content.and_then(|content| serde_json::from_str(content).ok());
    let mut shown = json!({
        "id": entry.position.to_string(),
        "topic": entry.position.topic,
        "partition": entry.position.partition,
        "offset": entry.position.offset,
        "index": entry.index,
        "type": entry.type_name,
        "message_id": id(entry.message_id),
        "source": entry.source,
        "aggregate_id": id(entry.key),
        "sequence": entry.sequence,
        "time": time(entry.time),
        "recorded_at": time(entry.recorded_at.timestamp_millis().saturating_mul(1000)),
        "actor": entry.actor,
        "correlation_id": id(entry.correlation_id),
        "causation_id": id(entry.causation_id),
        "content": content,
        "sha256": entry.sha256.as_ref().map(|hash| hex(&hash.bytes)),
    });
    if !with_content {
        shown["content_left_out"] = json!(true);
    }
    shown
}

#[cfg(test)]
mod tests {
    use messaging::Headers;

    use super::*;

    fn entry(offset: i64, content: &str) -> Entry {
        Entry {
            position: RecordPosition {
                topic: "users".to_owned(),
                partition: 3,
                offset,
            },
            time: 1_000 - offset,
            timestamp: 0,
            recorded_at: bson::DateTime::from_millis(0),
            type_name: None,
            message_id: None,
            source: None,
            key: None,
            noncanonical_key: None,
            sequence: None,
            correlation_id: None,
            causation_id: None,
            actor: None,
            headers: Headers::default(),
            content: Some(json!({ "text": content }).to_string()),
            sha256: None,
            value: None,
            index: None,
            leaf_hash: None,
        }
    }

    fn parsed(page: &str) -> Json {
        serde_json::from_str(page).expect("a page is JSON")
    }

    fn query() -> FindAuditEntries {
        FindAuditEntries {
            aggregate_id: None,
            correlation_id: None,
            actor: None,
            message_type: None,
            from: None,
            until: None,
            cursor: None,
            limit: 10,
        }
    }

    #[test]
    fn a_page_has_a_cursor_if_there_are_more_entries() {
        let found: Vec<_> = (0..3).map(|offset| entry(offset, "")).collect();
        let whole = parsed(&page(&found, 3, 10_000));
        assert_eq!(whole["entries"].as_array().map(Vec::len), Some(3));
        assert_eq!(whole["next_cursor"], Json::Null);

        let part = parsed(&page(&found, 2, 10_000));
        assert_eq!(part["entries"].as_array().map(Vec::len), Some(2));
        assert_eq!(part["next_cursor"], json!("999.users-3-1"));
        assert_eq!(
            parsed(&page(&[], 2, 10_000)),
            json!({ "entries": [], "next_cursor": null })
        );
    }

    #[test]
    fn a_page_fits_into_a_message_however_large_the_entries_are() {
        let large = "x".repeat(400);
        let found: Vec<_> = (0..10).map(|offset| entry(offset, &large)).collect();
        let room = 2_500;
        let text = page(&found, 10, room);
        assert!(text.len() < room + 100);
        let page = parsed(&text);
        let count = page["entries"].as_array().map(Vec::len).expect("a list");
        assert!((1..10).contains(&count), "{count}");
        assert_ne!(page["next_cursor"], Json::Null);
    }

    #[test]
    fn an_entry_that_is_too_large_for_any_page_is_shown_without_its_content() {
        let found = [entry(0, &"x".repeat(10_000)), entry(1, "")];
        let page = parsed(&page(&found, 10, 2_000));
        assert_eq!(page["entries"][0]["content"], Json::Null);
        assert_eq!(page["entries"][0]["content_left_out"], json!(true));
        assert_eq!(page["entries"][1]["content"], json!({ "text": "" }));
    }

    #[test]
    fn a_user_is_found_as_an_admin_too_and_an_admin_as_such_alone() {
        let id = "00000000-0000-0000-0000-000000000001";
        let both = Bson::from(doc! { "$in": [format!("user:{id}"), format!("admin:{id}")] });
        assert_eq!(actor_condition(&format!("user:{id}")), both);
        assert_eq!(
            actor_condition(&format!("admin:{id}")),
            Bson::from(format!("admin:{id}"))
        );
        assert_eq!(actor_condition("service:user"), Bson::from("service:user"));
    }

    #[test]
    fn a_cursor_can_be_parsed_from_its_text() {
        let cursor = Cursor::of(&entry(7, ""));
        assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        for text in ["", "x", "1", "1.users", "x.users-1-1", "1.users-1-x"] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_invalid_field_is_named() {
        let mut wrong = query();
        wrong.limit = 201;
        wrong.cursor = Some("yesterday".to_owned());
        let rejection = Search::parse(&wrong).expect_err("two fields are invalid");
        let fields: Vec<_> = rejection.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["limit", "cursor"]);
        assert!(Search::parse(&query()).is_ok());
    }
}
