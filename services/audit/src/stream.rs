//! The sequence numbers of one key of a domain-event topic, as they appear in the log. They may be repeated or out of order,
//! but no number may stay missing. Pure.

use serde::{Deserialize, Serialize};

/// Maximum number of ranges of missing numbers for each key, because all of them are in one document.
const MAX_RANGES: usize = 1_000;

/// The numbers of one key that were seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// The highest number that was seen, or 0 if none was.
    pub last: i64,
    /// Missing numbers below `last`, as inclusive ranges in order. Beyond [`MAX_RANGES`], the last ranges also contain numbers
    /// that were seen, so no missing number is lost.
    pub missing: Vec<(i64, i64)>,
}

/// The relation of a number to the numbers before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    Next,
    /// The numbers from `from` up to this one are missing.
    Gap {
        from: i64,
    },
    /// The number was missing before.
    Late,
    /// The number was seen before.
    Repeated,
}

impl Stream {
    /// Adds a number and returns its relation to the numbers before it.
    pub fn observe(&mut self, sequence: i64) -> Observation {
        if sequence > self.last {
            let from = self.last + 1;
            self.last = sequence;
            if sequence == from {
                return Observation::Next;
            }
            let is_full = self.missing.len() >= MAX_RANGES;
            match self.missing.last_mut() {
                Some((_, to)) if is_full => *to = sequence - 1,
                _ => self.missing.push((from, sequence - 1)),
            }
            return Observation::Gap { from };
        }
        let range = self
            .missing
            .iter()
            .position(|(from, to)| (*from..=*to).contains(&sequence));
        let Some(index) = range else {
            return Observation::Repeated;
        };
        let (from, to) = self.missing[index];
        let splits_range = from < sequence && sequence < to;
        if splits_range && self.missing.len() >= MAX_RANGES {
            return Observation::Late;
        }
        let rest = [(from, sequence - 1), (sequence + 1, to)];
        self.missing
            .splice(index..=index, rest.into_iter().filter(|(from, to)| from <= to));
        Observation::Late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe_all(numbers: &[i64]) -> (Stream, Vec<Observation>) {
        let mut stream = Stream::default();
        let observations = numbers.iter().map(|number| stream.observe(*number)).collect();
        (stream, observations)
    }

    #[test]
    fn numbers_in_order_leave_no_gap() {
        let (stream, observations) = observe_all(&[1, 2, 3]);
        assert_eq!(observations, [Observation::Next; 3]);
        assert_eq!((stream.last, stream.missing), (3, vec![]));
    }

    #[test]
    fn a_repeated_number_is_detected() {
        assert_eq!(
            observe_all(&[1, 1, 2, 1]).1,
            [
                Observation::Next,
                Observation::Repeated,
                Observation::Next,
                Observation::Repeated
            ]
        );
    }

    #[test]
    fn numbers_before_the_first_one_seen_are_missing() {
        assert_eq!(observe_all(&[3]).1, [Observation::Gap { from: 1 }]);
    }

    #[test]
    fn the_ranges_of_a_key_are_bounded_and_no_missing_number_is_lost() {
        let mut stream = Stream::default();
        let last = 6_000;
        for sequence in (2..=last).step_by(2) {
            assert_eq!(stream.observe(sequence), Observation::Gap { from: sequence - 1 });
        }
        // In the middle of a range, which would split it in two.
        stream.observe(last + 100);
        stream.observe(last + 50);
        assert!(stream.missing.len() <= 1_000, "{}", stream.missing.len());
        assert!(stream.missing.is_sorted());
        for sequence in (1..last).step_by(2) {
            assert!(
                stream
                    .missing
                    .iter()
                    .any(|(from, to)| (*from..=*to).contains(&sequence)),
                "{sequence}"
            );
        }
    }

    #[test]
    fn a_missing_number_is_late_when_it_arrives_and_repeated_afterwards() {
        let (stream, observations) = observe_all(&[1, 5, 3, 3]);
        assert_eq!(
            observations,
            [
                Observation::Next,
                Observation::Gap { from: 2 },
                Observation::Late,
                Observation::Repeated
            ]
        );
        assert_eq!(stream.missing, [(2, 2), (4, 4)]);

        let (stream, _) = observe_all(&[1, 5, 3, 2, 4]);
        assert_eq!((stream.last, stream.missing), (5, vec![]));
    }
}
