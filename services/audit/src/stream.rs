//! The numbers of one key of a domain-event topic, as they stand in the log: repeated or out of order they
//! may be, missing they must not stay. Pure.

use serde::{Deserialize, Serialize};

/// Ranges of missing numbers that a key has, at most, because all of them are in one document.
const MOST_RANGES: usize = 1_000;

/// Which numbers of one key were seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// The highest number seen; 0 before any.
    pub last: i64,
    /// Numbers below it that were not, as ranges with both ends in them, in order. Beyond [`MOST_RANGES`], the last of them
    /// contain numbers that were seen too, so that none that is missing is forgotten.
    pub missing: Vec<(i64, i64)>,
}

/// What a number means where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    Next,
    /// The numbers from here to the one before it are missing.
    Ahead {
        from: i64,
    },
    /// It was missing.
    Late,
    /// It was there before.
    Again,
}

impl Stream {
    pub fn note(&mut self, sequence: i64) -> Noted {
        if sequence > self.last {
            let from = self.last + 1;
            self.last = sequence;
            if sequence == from {
                return Noted::Next;
            }
            let is_full = self.missing.len() >= MOST_RANGES;
            match self.missing.last_mut() {
                Some((_, to)) if is_full => *to = sequence - 1,
                _ => self.missing.push((from, sequence - 1)),
            }
            return Noted::Ahead { from };
        }
        let range = self
            .missing
            .iter()
            .position(|(from, to)| (*from..=*to).contains(&sequence));
        let Some(index) = range else {
            return Noted::Again;
        };
        let (from, to) = self.missing[index];
        let falls_in_two = from < sequence && sequence < to;
        if falls_in_two && self.missing.len() >= MOST_RANGES {
            return Noted::Late;
        }
        let rest = [(from, sequence - 1), (sequence + 1, to)];
        self.missing
            .splice(index..=index, rest.into_iter().filter(|(from, to)| from <= to));
        Noted::Late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(numbers: &[i64]) -> (Stream, Vec<Noted>) {
        let mut stream = Stream::default();
        let noted = numbers.iter().map(|number| stream.note(*number)).collect();
        (stream, noted)
    }

    #[test]
    fn numbers_in_order_are_nothing_to_note() {
        let (stream, notes) = noted(&[1, 2, 3]);
        assert_eq!(notes, [Noted::Next; 3]);
        assert_eq!((stream.last, stream.missing), (3, vec![]));
    }

    #[test]
    fn a_repeated_number_is_noted() {
        assert_eq!(
            noted(&[1, 1, 2, 1]).1,
            [Noted::Next, Noted::Again, Noted::Next, Noted::Again]
        );
    }

    #[test]
    fn the_first_number_seen_is_never_taken_for_the_first_there_is() {
        assert_eq!(noted(&[3]).1, [Noted::Ahead { from: 1 }]);
    }

    #[test]
    fn the_missing_numbers_of_a_key_stay_small_and_none_is_forgotten() {
        let mut stream = Stream::default();
        let last = 6_000;
        for sequence in (2..=last).step_by(2) {
            assert_eq!(stream.note(sequence), Noted::Ahead { from: sequence - 1 });
        }
        // In the middle of what is missing, so that a range falls into two.
        stream.note(last + 100);
        stream.note(last + 50);
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
    fn what_was_missing_is_late_and_then_there() {
        let (stream, notes) = noted(&[1, 5, 3, 3]);
        assert_eq!(
            notes,
            [Noted::Next, Noted::Ahead { from: 2 }, Noted::Late, Noted::Again]
        );
        assert_eq!(stream.missing, [(2, 2), (4, 4)]);

        let (stream, _) = noted(&[1, 5, 3, 2, 4]);
        assert_eq!((stream.last, stream.missing), (5, vec![]));
    }
}
