//! What a store has to look up.

use contracts::aggregate::MAX_DOMAIN_EVENTS;
use registration::domain::{Wanted, needs_continuation};

use super::*;

#[test]
fn a_batch_says_what_it_wants() {
    let batch: Vec<RegistrationCommand> = vec![
        register(BOB).into(),
        register(ADA).into(),
        cancel(EVE).into(),
        check_in(STAFF).into(),
        publish(2, seats(1)).into(),
        follow(3, EventStatus::Cancelled).into(),
        ContinueClosing {}.into(),
    ];
    let wanted = Wanted::by(batch.iter().map(|command| (EVENT, command)));
    let expected = Wanted {
        registrations: [of(ADA), of(BOB), of(EVE), of(STAFF)].into(),
        attendances: [(EVENT, ADA), (EVENT, BOB)].into(),
        users: [ADA, BOB].into(),
        waiting: [(EVENT, 1 + 999 + 1_000)].into(),
        active: [(EVENT, 1 + 999 + 1_000)].into(),
    };
    assert_eq!(wanted, expected);
}

#[test]
fn only_what_stopped_at_the_limit_goes_on() {
    let all = [
        follow(3, EventStatus::Cancelled).into(),
        ContinueClosing {}.into(),
        cancel(ADA).into(),
    ];
    let go_on = |count| all.each_ref().map(|command| needs_continuation(command, count));
    assert_eq!(go_on(MAX_DOMAIN_EVENTS), [true, true, false]);
    assert_eq!(go_on(MAX_DOMAIN_EVENTS - 1), [false, false, false]);
}

#[test]
fn who_only_leaves_wants_no_list_of_all() {
    let batch: Vec<RegistrationCommand> = vec![cancel(ADA).into(), cancel(BOB).into()];
    let wanted = Wanted::by(batch.iter().map(|command| (EVENT, command)));
    assert_eq!(wanted.waiting, [(EVENT, 2)].into());
    assert_eq!(wanted.active, [].into());
}
