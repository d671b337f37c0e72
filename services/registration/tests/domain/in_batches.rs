//! Work that exceeds the limit of one command.

use contracts::aggregate::MAX_DOMAIN_EVENTS;
use registration::domain::needs_continuation;

use super::*;

fn users(count: u128) -> impl Iterator<Item = Uuid> {
    (0..count).map(|n| Uuid::from_u128(1_000 + n))
}

/// Executes the command and its continuations, and returns the number of domain events of each.
fn run_to_the_end(given: &mut Given, first: FollowEvent) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut command = RegistrationCommand::from(first);
    loop {
        let events = given.when(SELF, command.clone()).expect("accepted");
        counts.push(events.len());
        given.and(events);
        if !needs_continuation(&command, counts[counts.len() - 1]) {
            return counts;
        }
        command = ContinueClosing {}.into();
    }
}

#[test]
fn a_large_roster_is_closed_in_batches() {
    let mut roster = given([opened(2, seats(2_000))]);
    roster.and(users(2_000).map(confirmed));
    roster.and(users(2_500).skip(2_000).map(waitlisted));

    let counts = run_to_the_end(&mut roster, follow(3, EventStatus::Cancelled));

    assert_eq!(counts, [MAX_DOMAIN_EVENTS, MAX_DOMAIN_EVENTS, 501]);
    assert_eq!((roster.roster.taken, roster.roster.waiting), (0, 0));
    assert_eq!(roster.when(SELF, ContinueClosing {}), Ok(vec![]));
}

#[test]
fn a_large_increase_in_capacity_promotes_in_batches() {
    let mut roster = given([opened(2, seats(1))]);
    roster.and(users(1).map(confirmed));
    roster.and(users(2_501).skip(1).map(waitlisted));

    let counts = run_to_the_end(&mut roster, publish(3, seats(2_201)));

    assert_eq!(counts, [MAX_DOMAIN_EVENTS, MAX_DOMAIN_EVENTS, 201]);
    assert_eq!((roster.roster.taken, roster.roster.waiting), (2_201, 300));
    assert_eq!(roster.when(SELF, ContinueClosing {}), Ok(vec![]));
}

#[test]
fn the_waiting_list_goes_first_while_promotions_continue() {
    let mut roster = given([opened(2, seats(0))]);
    roster.and(users(1_500).map(waitlisted));
    let first_piece = roster.when(SELF, publish(3, seats(1_500))).expect("accepted");
    assert!(needs_continuation(&publish(3, seats(1_500)).into(), first_piece.len()));
    roster.and(first_piece);
    assert_eq!(roster.when(Actor::User(ADA), register(ADA)), Ok(vec![waitlisted(ADA)]));
}
