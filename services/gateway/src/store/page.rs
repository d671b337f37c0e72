//! Lists, a page at a time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use futures::{Stream, TryStreamExt as _};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

/// Bytes of text after which a page of large rows ends. With the most connections that a gateway serves, as many
/// responses that no client reads stay below its memory limit.
const PAGE_BYTES: usize = 128 * 1024;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Give it as `cursor` to get the next page; not there on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The place in a list after which a page begins: what its last row is sorted by.
pub trait PageCursor: Sized {
    fn to_text(&self) -> String;
    fn from_text(text: &str) -> Option<Self>;
}

/// In order of a time, then of an id.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeAndId {
    pub time: DateTime<Utc>,
    pub id: Uuid,
}

/// Which list, with which filters: a cursor is good for no other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct List(u32);

impl List {
    /// Of this name, narrowed like this.
    pub fn new(name: &str, filter: &impl std::fmt::Debug) -> Self {
        let hash = Sha256::digest(format!("{name} {filter:?}"));
        Self(u32::from_be_bytes(hash[..4].try_into().expect("a hash has 32 bytes")))
    }
}

/// Which page to read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PageRequest<P> {
    /// `None`: the first page.
    pub after: Option<P>,
    pub limit: u16,
    pub list: List,
}

impl<P: PageCursor> PageRequest<P> {
    /// Rows to ask the database for: one more shows whether there is a next page.
    pub fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// A page of rows that may be large, read one by one: it ends at the limit, or after [`PAGE_BYTES`]. Its first row is
    /// read whatever its size, so that every list can be read to its end.
    pub async fn read<T>(
        &self,
        mut rows: impl Stream<Item = sqlx::Result<T>> + Unpin,
        size: impl Fn(&T) -> usize,
        place: impl Fn(&T) -> P,
    ) -> sqlx::Result<Page<T>> {
        let (mut items, mut bytes, mut more) = (Vec::new(), 0, false);
        while let Some(row) = rows.try_next().await? {
            if items.len() >= usize::from(self.limit) || bytes >= PAGE_BYTES {
                more = true;
                break;
            }
            bytes += size(&row);
            items.push(row);
        }
        let next = items.last().filter(|_| more);
        let next = next.map(|last| encode(&place(last), self.list));
        Ok(Page { items, next })
    }

    /// A page of the rows that were found.
    pub fn page<T>(&self, mut rows: Vec<T>, place: impl Fn(&T) -> P) -> Page<T> {
        let more = rows.len() > usize::from(self.limit);
        rows.truncate(usize::from(self.limit));
        let next = rows.last().filter(|_| more).map(|last| encode(&place(last), self.list));
        Page { items: rows, next }
    }
}

/// As clients see it: nothing to read anything from.
pub fn encode(place: &impl PageCursor, list: List) -> String {
    URL_SAFE_NO_PAD.encode(format!("{:08x}{}", list.0, place.to_text()))
}

/// `None`: this is no cursor of this list.
pub fn decode<P: PageCursor>(cursor: &str, list: List) -> Option<P> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?;
    P::from_text(text.strip_prefix(&format!("{:08x}", list.0))?)
}

impl PageCursor for Uuid {
    fn to_text(&self) -> String {
        self.simple().to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::try_parse(text).ok()
    }
}

impl PageCursor for i64 {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl PageCursor for TimeAndId {
    fn to_text(&self) -> String {
        format!("{} {}", self.time.timestamp_micros(), self.id.simple())
    }

    fn from_text(text: &str) -> Option<Self> {
        let (time, id) = text.split_once(' ')?;
        Some(Self {
            time: contracts::Timestamp::from_micros(time.parse().ok()?).ok()?.to_utc(),
            id: Uuid::try_parse(id).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: List = List(7);

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        let place = TimeAndId {
            time: DateTime::from_timestamp_micros(1_772_388_000_250_000).expect("valid"),
            id: Uuid::from_u128(7),
        };
        assert_eq!(decode(&encode(&place, LIST), LIST), Some(place));
        let id = Uuid::from_u128(7);
        assert_eq!(decode(&encode(&id, LIST), LIST), Some(id));
        assert_eq!(decode(&encode(&-3_i64, LIST), LIST), Some(-3));
    }

    #[test]
    fn a_cursor_is_good_for_its_list_alone() {
        let cursor = encode(&3_i64, List::new("events", &"draft"));
        assert_eq!(decode::<i64>(&cursor, List::new("events", &"published")), None);
        assert_eq!(decode::<i64>(&cursor, List::new("users", &"draft")), None);
        assert_eq!(decode::<i64>(&cursor, List::new("events", &"draft")), Some(3));
    }

    #[test]
    fn anything_else_is_no_cursor() {
        let other = encode(&i64::MAX, LIST);
        for text in ["", "x", "!!!", "MTIz", &other, &"A".repeat(10_000)] {
            assert_eq!(decode::<TimeAndId>(text, LIST), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_page_of_large_rows_ends_early_and_leads_to_the_next() {
        let rows = |count: usize| futures::stream::iter((0..count as i64).map(Ok));
        let cut = PageRequest {
            after: None,
            limit: 5,
            list: LIST,
        };
        let read = async |count, size: usize| {
            let page = cut.read(rows(count), |_| size, |row| *row).await.expect("rows");
            (page.items.len(), page.next)
        };
        assert_eq!(read(5, 1).await, (5, None));
        assert_eq!(read(6, 1).await, (5, Some(encode(&4_i64, LIST))));
        assert_eq!(read(6, PAGE_BYTES / 2).await, (2, Some(encode(&1_i64, LIST))));
        assert_eq!(read(6, 10 * PAGE_BYTES).await, (1, Some(encode(&0_i64, LIST))));
        assert_eq!(read(1, 10 * PAGE_BYTES).await, (1, None));
        assert_eq!(read(0, 1).await, (0, None));
    }

    #[test]
    fn the_last_page_has_no_next() {
        let cut = PageRequest {
            after: None,
            limit: 2,
            list: LIST,
        };
        assert_eq!(cut.page(vec![1, 2], |row| *row).next, None);
        let page = cut.page(vec![1, 2, 3], |row| *row);
        assert_eq!((page.items, page.next), (vec![1, 2], Some(encode(&2, LIST))));
    }
}
