//! `state!` as used by a domain.

use contracts::{Date, Timestamp};
use uuid::Uuid;

contracts::state! {
    #[derive(Debug, Default, Clone, PartialEq)]
    pub(crate) struct Roster {
        capacity: i32,
        phase: Phase,
        closes_at: Option<Timestamp>,
        born: Option<Date>,
        organizer: Option<Uuid>,
    }

    #[derive(Debug, Default, Clone, PartialEq)]
    pub(crate) enum Phase {
        #[default]
        Draft,
        Open { since: i64 },
    }
}

#[test]
fn a_state_can_be_stored_and_read_again() {
    let roster = Roster {
        capacity: 3,
        phase: Phase::Open { since: 2 },
        closes_at: Some(Timestamp::EPOCH),
        born: Date::from_ymd(2026, 3, 1),
        organizer: Some(Uuid::from_u128(7)),
    };
    for roster in [roster, Roster::default()] {
        let stored = serde_json::to_vec(&roster).expect("the state can be stored");
        assert_eq!(
            serde_json::from_slice::<Roster>(&stored).expect("the state can be read"),
            roster
        );
    }
}
