//! Pagination of lists.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use futures::{Stream, TryStreamExt as _};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

/// Size of the strings in bytes after which a page of large rows ends.
///
/// If every connection of a gateway holds a response that the client does not read, the responses stay below the memory
/// limit.
const PAGE_BYTES: usize = 128 * 1024;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The `cursor` of the next page. It is missing on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The position in a list after which a page begins: the sort key of the last row of the page before.
pub trait PageCursor: Sized {
    fn to_text(&self) -> String;
    fn from_text(text: &str) -> Option<Self>;
}

/// The position in a list that is sorted by a time, then by an id.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeAndId {
    pub time: DateTime<Utc>,
    pub id: Uuid,
}

/// Identifies a list and its filters. A cursor is only valid for the list that it comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct List(u32);

impl List {
    /// Identifies the list with this name and this filter.
    pub fn new(name: &str, filter: &impl std::fmt::Debug) -> Self {
        let hash = Sha256::digest(format!("{name} {filter:?}"));
        Self(u32::from_be_bytes(hash[..4].try_into().expect("a hash has 32 bytes")))
    }
}

/// A request for one page of a list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PageRequest<P> {
    /// Position after which the page begins, or `None` for the first page.
    pub after: Option<P>,
    pub limit: u16,
    pub list: List,
}

impl<P: PageCursor> PageRequest<P> {
    /// Returns the number of rows to fetch: one more than the limit, which shows whether a next page exists.
    pub fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Reads a page of rows that may be large, one by one. The page ends at the limit or after [`PAGE_BYTES`].
    ///
    /// `size` returns the size of a row in bytes. The first row is read whatever its size, so every list can be read
    /// to its end.
    pub async fn read<T>(
        &self,
        mut rows: impl Stream<Item = sqlx::Result<T>> + Unpin,
        size: impl Fn(&T) -> usize,
        cursor: impl Fn(&T) -> P,
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
        let next = next.map(|last| encode(&cursor(last), self.list));
        Ok(Page { items, next })
    }

    /// Makes a page of the fetched rows.
    pub fn page<T>(&self, mut rows: Vec<T>, cursor: impl Fn(&T) -> P) -> Page<T> {
        let more = rows.len() > usize::from(self.limit);
        rows.truncate(usize::from(self.limit));
        let next = rows
            .last()
            .filter(|_| more)
            .map(|last| encode(&cursor(last), self.list));
        Page { items: rows, next }
    }
}

/// Returns the opaque text of a cursor, as clients receive it.
pub fn encode(cursor: &impl PageCursor, list: List) -> String {
    URL_SAFE_NO_PAD.encode(format!("{:08x}{}", list.0, cursor.to_text()))
}

/// Returns the cursor, or `None` if the text is not a cursor of this list.
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
    fn a_cursor_is_decoded_to_the_encoded_position() {
        let position = TimeAndId {
            time: DateTime::from_timestamp_micros(1_772_388_000_250_000).expect("valid"),
            id: Uuid::from_u128(7),
        };
        assert_eq!(decode(&encode(&position, LIST), LIST), Some(position));
        let id = Uuid::from_u128(7);
        assert_eq!(decode(&encode(&id, LIST), LIST), Some(id));
        assert_eq!(decode(&encode(&-3_i64, LIST), LIST), Some(-3));
    }

    #[test]
    fn a_cursor_is_valid_only_for_its_list() {
        let cursor = encode(&3_i64, List::new("events", &"draft"));
        assert_eq!(decode::<i64>(&cursor, List::new("events", &"published")), None);
        assert_eq!(decode::<i64>(&cursor, List::new("users", &"draft")), None);
        assert_eq!(decode::<i64>(&cursor, List::new("events", &"draft")), Some(3));
    }

    #[test]
    fn a_text_that_is_not_a_cursor_of_the_list_is_rejected() {
        let other = encode(&i64::MAX, LIST);
        for text in ["", "x", "!!!", "MTIz", &other, &"A".repeat(10_000)] {
            assert_eq!(decode::<TimeAndId>(text, LIST), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_page_of_large_rows_ends_early_and_has_a_cursor_to_the_next() {
        let rows = |count: usize| futures::stream::iter((0..count as i64).map(Ok));
        let request = PageRequest {
            after: None,
            limit: 5,
            list: LIST,
        };
        let read = async |count, size: usize| {
            let page = request.read(rows(count), |_| size, |row| *row).await.expect("rows");
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
    fn the_last_page_has_no_cursor() {
        let request = PageRequest {
            after: None,
            limit: 2,
            list: LIST,
        };
        assert_eq!(request.page(vec![1, 2], |row| *row).next, None);
        let page = request.page(vec![1, 2, 3], |row| *row);
        assert_eq!((page.items, page.next), (vec![1, 2], Some(encode(&2, LIST))));
    }
}
