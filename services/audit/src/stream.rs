//! The numbers of one key of a domain-event topic, as they stand in the log: repeated or out of order they
//! may be, missing they must not stay. Pure.

use serde::{Deserialize, Serialize};

/// Which numbers of one key were seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// The highest number seen; 0 before any.
    pub last: i64,
    /// Numbers below it that were not, as ranges with both ends in them, in order.
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
            self.missing.push((from, sequence - 1));
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
