//! The content of delivery certificates, calculated from the domain events of an hour. Pure.

use std::collections::{BTreeMap, HashMap};

use contracts::CertifiedTopic;
use uuid::Uuid;

/// Maximum number of keys that a row names as examples.
const MAX_EXAMPLES: usize = 10;

/// The records of one key in an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyCount {
    pub(crate) topic: String,
    pub(crate) producer: String,
    pub(crate) key: Uuid,
    pub(crate) messages: i64,
    /// The lowest and the highest sequence number.
    pub(crate) numbers: Option<(i64, i64)>,
}

/// Missing sequence numbers by topic and key, as inclusive ranges.
pub(crate) type Gaps = HashMap<(String, Uuid), Vec<(i64, i64)>>;

/// Returns one row for each topic and producer. A missing number is counted in the hour of the first recorded number
/// after it.
pub(crate) fn summarize(counted: &[KeyCount], gaps: &Gaps) -> Vec<CertifiedTopic> {
    let mut rows = BTreeMap::new();
    for one in counted {
        let row = rows
            .entry((&one.topic, &one.producer))
            .or_insert_with(|| CertifiedTopic {
                topic: one.topic.clone(),
                producer: one.producer.clone(),
                messages: 0,
                keys: 0,
                missing: 0,
                examples: Vec::new(),
            });
        row.messages += one.messages;
        row.keys += 1;
        let missing: Vec<_> = missing(one, gaps).collect();
        row.missing += missing.iter().map(|(from, to)| to - from + 1).sum::<i64>();
        if !missing.is_empty() && row.examples.len() < MAX_EXAMPLES {
            let ranges: Vec<_> = missing.into_iter().map(range).collect();
            row.examples.push(format!("{}: {}", one.key, ranges.join(", ")));
        }
    }
    rows.into_values().collect()
}

fn missing<'a>(one: &KeyCount, gaps: &'a Gaps) -> impl Iterator<Item = (i64, i64)> + 'a {
    let gaps = gaps.get(&(one.topic.clone(), one.key)).map_or(&[][..], Vec::as_slice);
    let (lowest, highest) = one.numbers.unwrap_or((1, 0));
    let is_in_this_hour = move |after: i64| (lowest..=highest).contains(&after);
    gaps.iter().copied().filter(move |(_, to)| is_in_this_hour(to + 1))
}

fn range((from, to): (i64, i64)) -> String {
    if from == to {
        return from.to_string();
    }
    format!("{from}-{to}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(key: u128, messages: i64, numbers: (i64, i64)) -> KeyCount {
        KeyCount {
            topic: "users".to_owned(),
            producer: "/rollcall/user".to_owned(),
            key: Uuid::from_u128(key),
            messages,
            numbers: Some(numbers),
        }
    }

    fn gaps(key: u128, ranges: &[(i64, i64)]) -> Gaps {
        Gaps::from([(("users".to_owned(), Uuid::from_u128(key)), ranges.to_vec())])
    }

    #[test]
    fn an_hour_without_gaps_is_complete() {
        let rows = summarize(&[counted(1, 3, (1, 3)), counted(2, 1, (7, 7))], &Gaps::new());
        assert_eq!(
            (rows.len(), rows[0].messages, rows[0].keys, rows[0].missing),
            (1, 4, 2, 0)
        );
        assert!(rows[0].examples.is_empty());
    }

    #[test]
    fn a_missing_number_counts_in_the_hour_of_the_next_number() {
        let gaps = gaps(1, &[(2, 2), (4, 6), (9, 9)]);
        let rows = summarize(&[counted(1, 2, (3, 8))], &gaps);
        assert_eq!(rows[0].missing, 4, "number 10 is in another hour");
        assert_eq!(rows[0].examples, ["00000000-0000-0000-0000-000000000001: 2, 4-6"]);
    }

    #[test]
    fn each_producer_has_a_row() {
        let other = KeyCount {
            producer: "/rollcall/other".to_owned(),
            ..counted(3, 1, (1, 1))
        };
        assert_eq!(summarize(&[counted(1, 1, (1, 1)), other], &Gaps::new()).len(), 2);
    }
}
