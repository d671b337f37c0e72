//! The rows that a store must read.

use contracts::aggregate::MAX_DOMAIN_EVENTS;
use registration::domain::{RequiredRows, needs_continuation};

use super::*;

#[test]
fn a_batch_requires_the_rows_of_all_its_commands() {
    let batch: Vec<RegistrationCommand> = vec![
        register(BOB).into(),
        register(ADA).into(),
        cancel(EVE).into(),
        check_in(STAFF).into(),
        publish(2, seats(1)).into(),
        follow(3, EventStatus::Cancelled).into(),
        ContinueClosing {}.into(),
    ];
    let required = RequiredRows::for_commands(batch.iter().map(|command| (EVENT, command)));
    let expected = RequiredRows {
        registrations: [of(ADA), of(BOB), of(EVE), of(STAFF)].into(),
        attendances: [(EVENT, ADA), (EVENT, BOB)].into(),
        users: [ADA, BOB].into(),
        waiting: [(EVENT, 1 + 999 + 1_000)].into(),
        active: [(EVENT, 1 + 999 + 1_000)].into(),
    };
    assert_eq!(required, expected);
}

#[test]
fn a_command_is_continued_only_if_it_stopped_at_the_limit() {
    let all = [
        follow(3, EventStatus::Cancelled).into(),
        ContinueClosing {}.into(),
        cancel(ADA).into(),
    ];
    let continues = |count| all.each_ref().map(|command| needs_continuation(command, count));
    assert_eq!(continues(MAX_DOMAIN_EVENTS), [true, true, false]);
    assert_eq!(continues(MAX_DOMAIN_EVENTS - 1), [false, false, false]);
}

#[test]
fn a_cancellation_does_not_require_all_active_registrations() {
    let batch: Vec<RegistrationCommand> = vec![cancel(ADA).into(), cancel(BOB).into()];
    let required = RequiredRows::for_commands(batch.iter().map(|command| (EVENT, command)));
    assert_eq!(required.waiting, [(EVENT, 2)].into());
    assert_eq!(required.active, [].into());
}
