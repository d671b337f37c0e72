//! Commands take effect once, regardless of what fails.

use std::time::Duration;

use contracts::replies::Reply;
use contracts::{DeadLetterFact, DeadLetterReason, Timestamp, UserCommand, topics};
use messaging::ledger::{DeliveryLog as _, Maintenance as _, Sequence, StoreErrorKind, TopicKey, Transactions as _};
use messaging::{MAX_VALUE_BYTES, TopicPartition};
use uuid::Uuid;

use super::race;
use super::service::{Service, Store, happened, order};
use crate::faulty::CommitFault;
use crate::inside::Inside as _;

/// After a commit of unknown outcome, the worker reads the position and continues: no effect is lost or doubled.
pub async fn commit_outcome_unknown_then_continues<S: Store>() {
    for fault in [CommitFault::UnknownCommitted, CommitFault::UnknownRolledBack] {
        let service = Service::<S>::start().await;
        let key = Uuid::now_v7();

        service.faults.commit(fault);
        service.deliver(order(key, "add")).await; // the partition's first position
        service.faults.commit(fault);
        service.deliver(order(key, "add")).await;
        let last = service.deliver(order(key, "at-least:2")).await;

        assert_eq!(service.versions(key).await, [1, 2, 3], "{fault:?}");
        assert!(matches!(service.reply(last).await, Reply::CommandAccepted(reply) if reply.version == 3));
        assert_eq!(service.users().await.len(), 3, "{fault:?}");
    }

    // The server completes a commit after the client has stopped waiting for the response.
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    for _ in 0..2 {
        let late = service.faults.commit_late();
        let happen = async {
            late.requested().await;
            late.complete().await;
        };
        tokio::join!(service.deliver(order(key, "add")), happen);
    }
    service.deliver(order(key, "add")).await;
    assert_eq!(service.versions(key).await, [1, 2, 3]);
    let users = service.users().await.into_iter();
    assert_eq!(users.map(|(sequence, _)| sequence).collect::<Vec<_>>(), [1, 2, 3]);
}

/// Whichever statement fails, the next attempt uses the same version.
pub async fn rollback_leaves_no_version_gap<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let mut expected = Vec::new();
    for statement in 1..=3 {
        service.faults.fail_statement(statement, StoreErrorKind::Unavailable);
        service.deliver(order(key, "add")).await;
        expected.push(expected.len() as i64 + 1);
    }
    for fault in [CommitFault::RolledBack, CommitFault::UnknownRolledBack] {
        service.faults.commit(fault);
        service.deliver(order(key, "add")).await;
        expected.push(expected.len() as i64 + 1);
    }
    service.faults.fail("begin", StoreErrorKind::Unavailable);
    service.deliver(order(key, "add")).await;
    expected.push(expected.len() as i64 + 1);

    assert_eq!(service.versions(key).await, expected);
    let published = service.users().await.into_iter().map(|(sequence, _)| sequence);
    assert_eq!(published.collect::<Vec<_>>(), expected);
}

/// A rejection writes no version, so no key constraint would detect a rejection that was decided on stale state.
pub async fn stale_cache_cannot_reject<S: Store>() {
    let service = Service::<S>::start().await;
    let other = service.another();
    let key = Uuid::now_v7();
    service.deliver(order(key, "add")).await; // now caches version 1

    other.assign_now(&topics::USERS_COMMANDS).await;
    other.deliver(order(key, "add")).await;
    let command = service.append(order(key, "at-least:2"));
    service.rewind(&topics::USERS_COMMANDS, 0, 2).await; // the batch contains no record of the other process
    service.catch_up().await;

    assert!(matches!(service.reply(command).await, Reply::CommandAccepted(reply) if reply.version == 3));

    // The same after a failed attempt, whose evolved state is dropped.
    service.faults.commit(CommitFault::RolledBack);
    let command = service.append(order(key, "add"));
    let too_many = service.append(order(key, "at-least:5"));
    service.catch_up().await;
    assert!(matches!(service.reply(command).await, Reply::CommandAccepted(reply) if reply.version == 4));
    assert!(matches!(service.reply(too_many).await, Reply::CommandRejected(_)));
}

/// A worker does not decide on state that it cached in an earlier assignment.
pub async fn reassigned_away_and_back_reads_fresh<S: Store>() {
    let service = Service::<S>::start().await;
    let other = service.another();
    let key = Uuid::now_v7();
    service.deliver(order(key, "add")).await;

    other.assign_now(&topics::USERS_COMMANDS).await;
    other.deliver(order(key, "add")).await;
    service.assign_now(&topics::USERS_COMMANDS).await;
    service.faults.calls();
    let command = service.deliver(order(key, "at-least:2")).await;

    assert!(matches!(service.reply(command).await, Reply::CommandAccepted(reply) if reply.version == 3));
    let calls = service.faults.calls();
    assert!(!calls.contains(&"rollback"), "the position was current: {calls:?}");
}

/// A worker whose partition another process owned meanwhile resumes from that process's position, and repeats nothing.
// wording: a named test of the delivery protocol
pub async fn zombie_mismatch_reads_position_anew<S: Store>() {
    let zombie = Service::<S>::start().await;
    let other = zombie.another();
    let key = Uuid::now_v7();
    zombie.deliver(order(key, "add")).await;
    other.assign_now(&topics::USERS_COMMANDS).await;
    other.deliver_all((0..3).map(|_| order(key, "add"))).await;
    zombie.faults.calls();

    let command = zombie.append(order(key, "add"));
    zombie.catch_up().await; // one batch contains the three commands of the other process and the new one

    assert_eq!(zombie.versions(key).await, [1, 2, 3, 4, 5]);
    assert!(matches!(zombie.reply(command).await, Reply::CommandAccepted(reply) if reply.version == 5));
    let calls = zombie.faults.calls();
    assert_eq!(calls[..5], ["begin", "advance", "rollback", "positions", "begin"]);
    assert_eq!(
        zombie.hooks.batches().last().map(Vec::len),
        Some(1),
        "only the new command was handled"
    );
}

/// Two processes apply a partition's first batch at the same time.
pub async fn first_position_insert_race<S: Store>() {
    let (first, key) = (Service::<S>::start().await, Uuid::now_v7());
    let second = first.another();
    first.append(order(key, "add"));
    first.append(order(key, "at-least:1"));

    race(&first.faults, first.catch_up(), &second.faults, second.catch_up()).await;

    assert_eq!(first.versions(key).await, [1, 2]);
    assert_eq!(first.users().await.len(), 2);
    assert_eq!(second.inside().dead_letters().await, []);
}

/// After a rollback, the worker takes the same batch again, never the next one.
pub async fn retry_never_skips_a_batch<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let first: Vec<_> = (0..3).map(|_| order(key, "add")).collect();
    let mut ids: Vec<_> = first.iter().map(|command| command.id).collect();
    for fault in [CommitFault::RolledBack, CommitFault::UnknownRolledBack] {
        service.faults.commit(fault);
    }
    service.faults.fail("positions", StoreErrorKind::Unavailable);
    service.deliver_all(first).await;

    // The process ends while the store is unavailable. Its successor finds the batch.
    ids.push(service.append(order(key, "add")));
    service.faults.set_down(true);
    let begun = crate::eventually("the worker begins a transaction", Duration::from_secs(5), || async {
        service.faults.calls().contains(&"begin").then_some(())
    });
    tokio::select! {
        () = service.catch_up() => panic!("the store is down"),
        () = begun => {}
    }
    service.faults.set_down(false);
    ids.push(service.append(order(key, "add")));
    service.catch_up().await;

    let journaled = service.store.journaled().await;
    assert_eq!(journaled.iter().map(|entry| entry.id).collect::<Vec<_>>(), ids);
}

/// The store was restored from a backup while the process ran, so the records in memory are not the next ones.
pub async fn restored_store_is_read_again<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    service
        .deliver_all((1..=5).map(|number| happened(key, number, "")))
        .await;
    let ledger = service.store.ledger();
    let mut tx = ledger.begin().await.expect("a transaction begins");
    let partition = TopicPartition::new(service.topic_name(&topics::EVENTS), 0);
    assert!(ledger.advance(&mut tx, &partition, Some(5), 2).await.expect("moved"));
    let last = Sequence {
        last: 2,
        ..Sequence::default()
    };
    let changed = [(TopicKey::new(partition.topic.as_str(), key), last)];
    ledger.set_sequences(&mut tx, &[], &changed).await.expect("set");
    ledger.commit(tx).await.expect("committed");

    service.deliver(happened(key, 6, "")).await;
    assert_eq!(service.numbers(key).await, [1, 2, 3, 4, 5, 3, 4, 5, 6]);
}

/// The attempt of a deferred command is recorded, so a duplicate of the original is not deferred a second time.
pub async fn defer_then_duplicate_of_the_original<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let early = service.deliver(order(key, "from:1")).await;
    service.deliver_again().await;
    assert_eq!(service.delayed::<UserCommand>().await.len(), 1);

    let delayed = &service.delayed::<UserCommand>().await[0];
    assert_eq!((delayed.envelope.id, delayed.envelope.attempt), (early, 1));
    assert!(delayed.envelope.reply_to.is_some(), "the reply topic is kept");

    service.deliver_again().await;
    service.deliver(order(key, "add")).await;
    service.deliver_delayed().await;
    assert!(matches!(service.reply(early).await, Reply::CommandAccepted(reply) if reply.version == 2));
    assert_eq!(service.versions(key).await, [1, 2]);
    assert_eq!(service.delayed::<UserCommand>().await.len(), 0);
}

/// A command that is always too early is rejected once after the last attempt, although each attempt is delivered twice.
pub async fn defer_exhausted_has_one_outcome<S: Store>() {
    for word in ["from:1", "too-early"] {
        let service = Service::<S>::start().await;
        let key = Uuid::now_v7();
        let command = service.deliver(order(key, word)).await;
        let mut attempts = 1;
        while !service.delayed::<UserCommand>().await.is_empty() {
            service.deliver_again().await;
            service.deliver_delayed().await;
            attempts += 1;
            assert!(attempts < 20, "the attempts must end");
        }
        service.deliver_again().await;

        assert!(
            matches!(service.reply(command).await, Reply::CommandRejected(_)),
            "{word}"
        );
        assert_eq!(service.versions(key).await, [0; 0]);
        assert!(attempts > 3, "it was attempted only {attempts} times");
    }
}

/// A poison command is closed with a dead letter and a `failed` reply. Fixing its cause does not execute it.
pub async fn dead_command_is_final<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let poison = order(key, "poison:well");
    let command = poison.id;
    let before = service.append(order(key, "add"));
    service.append(poison.clone());
    let after = service.append(order(key, "add"));
    service.catch_up().await;

    let dead_letters = service.dead_letters().await;
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(dead_letters[0].reason, DeadLetterReason::Poison);
    assert!(
        dead_letters[0].detail.contains("well is not fixed"),
        "{}",
        dead_letters[0].detail
    );
    assert!(matches!(service.reply(command).await, Reply::CommandFailed(reply) if reply.code == "not-executable"));
    for neighbour in [before, after] {
        assert!(matches!(service.reply(neighbour).await, Reply::CommandAccepted(_)));
    }

    service.hooks.fix("well");
    service.deliver(poison).await; // the same command again
    assert_eq!(service.replies(command).await.len(), 1);
    assert_eq!(service.versions(key).await, [1, 2]);
    assert_eq!(service.dead_letters().await.len(), 1);

    let DeadLetterFact::MessageDeadLettered(fact) = &service.published::<DeadLetterFact>().await[0];
    assert_eq!(
        fact.topic,
        topics::USERS_COMMANDS.name,
        "the announcement has no topic prefix"
    );
    assert_eq!((fact.message_id, fact.offset), (Some(command), 1));
}

/// A command older than the inbox retention is not executed again.
pub async fn late_duplicate_after_inbox_purge<S: Store>() {
    const DAY: Duration = Duration::from_secs(86_400);
    let store = S::fresh().await;
    let key = Uuid::now_v7();
    let old = order(key, "add").time(Timestamp::now() - 9 * DAY);

    let service = Service::over(store.clone(), |settings| settings.inbox_retention = 10 * DAY);
    service.deliver(old.clone()).await;
    service.deliver_again().await;
    assert!(matches!(service.reply(old.id).await, Reply::CommandAccepted(_)));
    assert_eq!(store.ledger().inbox_entries().await, 1);

    // With a retention of five days.
    let later = Service::over(store.clone(), |settings| settings.inbox_retention = 5 * DAY);
    store
        .ledger()
        .housekeeping(5 * DAY)
        .await
        .expect("housekeeping succeeds");
    assert_eq!(store.ledger().inbox_entries().await, 0);
    later.rewind(&topics::USERS_COMMANDS, 0, 0).await;
    later.append(order(key, "add")); // offsets 0 and 1 are before the stored position
    later.append(order(key, "add"));
    later.deliver(old.clone()).await;

    assert_eq!(service.versions(key).await, [1]);
    let dead_letters = later.dead_letters().await;
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(dead_letters[0].reason, DeadLetterReason::Expired);
    assert!(matches!(later.reply(old.id).await, Reply::CommandFailed(reply) if reply.code == "expired"));
    let _ = service.dead_letters().await;
}

/// A message that could not be published is never committed, and neither are the effects of its cause.
pub async fn oversized_message_fails_at_append<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    service.append(order(key, "add"));
    let big = service.append(order(key, &format!("big:{MAX_VALUE_BYTES}")));
    service.append(order(key, "add"));
    service.catch_up().await;

    assert_eq!(service.versions(key).await, [1, 2]);
    assert_eq!(service.users().await.len(), 2);
    assert!(matches!(service.reply(big).await, Reply::CommandFailed(_)));
    assert_eq!(service.dead_letters().await.len(), 1);
}
