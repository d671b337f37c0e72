//! The content of delivery certificates, calculated from the domain events of an hour. Pure.

use std::collections::{BTreeMap, HashMap};

use contracts::CertifiedTopic;
use uuid::Uuid;

/// Maximum number of keys that a row names as examples.
const MAX_EXAMPLES: usize = 10;

/// The records of one producer on one topic in an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) topic: String,
    pub(crate) producer: String,
    pub(crate) messages: i64,
    pub(crate) keys: i64,
}

/// The records of one key in an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) topic: String,
    pub(crate) producer: String,
    pub(crate) key: Uuid,
    /// The lowest and the highest sequence number.
    pub(crate) numbers: Option<(i64, i64)>,
}

/// Missing sequence numbers by topic and key, as inclusive ranges.
pub(crate) type Gaps = HashMap<(String, Uuid), Vec<(i64, i64)>>;

/// The content of a certificate: one row for each topic and producer. Its size does not depend on the number of keys.
#[derive(Debug, Default)]
pub(crate) struct Summary(BTreeMap<(String, String), CertifiedTopic>);

impl Summary {
    pub(crate) fn add_total(&mut self, total: &Total) {
        let row = self.row(&total.topic, &total.producer);
        row.messages += total.messages;
        row.keys += total.keys;
    }

    /// Adds the missing numbers of a key. A missing number counts in the hour of the first recorded number after it.
    pub(crate) fn add_missing(&mut self, one: &KeyRange, gaps: &Gaps) {
        let missing: Vec<_> = missing(one, gaps).collect();
        if missing.is_empty() {
            return;
        }
        let row = self.row(&one.topic, &one.producer);
        row.missing += missing.iter().map(|(from, to)| to - from + 1).sum::<i64>();
        if row.examples.len() < MAX_EXAMPLES {
            let ranges: Vec<_> = missing.into_iter().map(range).collect();
            row.examples.push(format!("{}: {}", one.key, ranges.join(", ")));
        }
    }

    /// Returns `true` if no number is missing.
    pub(crate) fn is_complete(&self) -> bool {
        self.0.values().all(|topic| topic.missing == 0)
    }

    pub(crate) fn into_topics(self) -> Vec<CertifiedTopic> {
        self.0.into_values().collect()
    }

    fn row(&mut self, topic: &str, producer: &str) -> &mut CertifiedTopic {
        let id = (topic.to_owned(), producer.to_owned());
        self.0.entry(id).or_insert_with(|| CertifiedTopic {
            topic: topic.to_owned(),
            producer: producer.to_owned(),
            messages: 0,
            keys: 0,
            missing: 0,
            examples: Vec::new(),
        })
    }
}

fn missing<'a>(one: &KeyRange, gaps: &'a Gaps) -> impl Iterator<Item = (i64, i64)> + 'a {
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

    fn total(messages: i64, keys: i64) -> Total {
        Total {
            topic: "users".to_owned(),
            producer: "/rollcall/user".to_owned(),
            messages,
            keys,
        }
    }

    fn key(key: u128, numbers: (i64, i64)) -> KeyRange {
        KeyRange {
            topic: "users".to_owned(),
            producer: "/rollcall/user".to_owned(),
            key: Uuid::from_u128(key),
            numbers: Some(numbers),
        }
    }

    fn gaps(key: u128, ranges: &[(i64, i64)]) -> Gaps {
        Gaps::from([(("users".to_owned(), Uuid::from_u128(key)), ranges.to_vec())])
    }

    #[test]
    fn an_hour_without_gaps_is_complete() {
        let mut summary = Summary::default();
        summary.add_missing(&key(1, (1, 3)), &Gaps::new());
        summary.add_total(&total(4, 2));
        assert!(summary.is_complete());
        let rows = summary.into_topics();
        assert_eq!(
            (rows.len(), rows[0].messages, rows[0].keys, rows[0].missing),
            (1, 4, 2, 0)
        );
        assert!(rows[0].examples.is_empty());
    }

    #[test]
    fn a_missing_number_counts_in_the_hour_of_the_next_number() {
        let mut summary = Summary::default();
        summary.add_missing(&key(1, (3, 8)), &gaps(1, &[(2, 2), (4, 6), (9, 9)]));
        assert!(!summary.is_complete());
        let rows = summary.into_topics();
        assert_eq!(rows[0].missing, 4, "number 10 is in another hour");
        assert_eq!(rows[0].examples, ["00000000-0000-0000-0000-000000000001: 2, 4-6"]);
    }

    #[test]
    fn each_producer_has_a_row() {
        let mut summary = Summary::default();
        let other = Total {
            producer: "/rollcall/other".to_owned(),
            ..total(1, 1)
        };
        summary.add_total(&total(1, 1));
        summary.add_total(&other);
        assert_eq!(summary.into_topics().len(), 2);
    }
}
