//! Tests of a ledger alone, without the pipeline.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use contracts::{DeadLetterReason, Timestamp};
use messaging::ledger::{
    CommitError, DeadLetter, DeliveryLog as _, InboxEntry, Maintenance as _, OpsQueries as _, Outbox as _,
    OutboxMessage, Parked, Sequence, Step, StoreError, StoreErrorKind, StoredSchema, TopicKey, Transactions as _,
};
use messaging::{Headers, Record, TopicPartition};
use uuid::Uuid;

use super::service::{Entry, Store};
use super::{on, rows};
use crate::inside::Inside as _;

const LEASE: Duration = Duration::from_secs(60);

type Result = std::result::Result<(), StoreError>;

/// Runs statements in a transaction, and commits it.
macro_rules! committed {
    ($ledger:expr, $tx:ident => $body:expr) => {{
        let mut $tx = $ledger.begin().await.expect("a transaction begins");
        let result = $body;
        $ledger.commit($tx).await.expect("the transaction is committed");
        result
    }};
}

mod operators;
mod outbox;

pub use operators::*;
pub use outbox::*;

pub async fn positions_move_by_compare_and_set<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let (one, two) = (TopicPartition::new("a", 0), TopicPartition::new("a", 1));
    let other = TopicPartition::new("b", 0);
    for (from, to, moved) in [
        (None, 5, true),
        (None, 6, false),
        (Some(4), 6, false),
        (Some(5), 9, true),
    ] {
        let mut tx = ledger.begin().await.expect("a transaction begins");
        assert_eq!(
            ledger.advance(&mut tx, &one, from, to).await.expect("a result"),
            moved,
            "{from:?} {to}"
        );
        if moved {
            ledger.commit(tx).await.expect("committed");
        } else {
            ledger.rollback(tx).await;
        }
    }
    let mut tx = ledger.begin().await.expect("a transaction begins");
    assert!(
        !ledger.advance(&mut tx, &two, Some(0), 1).await.expect("a result"),
        "no position is stored"
    );
    ledger.rollback(tx).await;
    let mut tx = ledger.begin().await.expect("a transaction begins");
    assert!(ledger.advance(&mut tx, &two, None, 1).await.expect("a result"));
    ledger.rollback(tx).await;
    committed!(ledger, tx => assert!(ledger.advance(&mut tx, &other, None, 3).await.expect("a result")));
    committed!(ledger, tx => ledger.lock_position(&mut tx, &one).await.expect("locked"));
    committed!(ledger, tx => ledger.lock_position(&mut tx, &two).await.expect("a missing position is not an error"));

    let positions = ledger
        .positions(&[one.clone(), two, other.clone()])
        .await
        .expect("positions");
    assert_eq!(positions, HashMap::from([(one, 9), (other, 3)]));
    assert_eq!(ledger.positions(&[]).await.expect("positions"), HashMap::new());
}

pub async fn inbox_returns_new_messages<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let entry = |id, attempt, since| InboxEntry { id, attempt, since };
    let (id, now) = (Uuid::now_v7(), Timestamp::now());
    let odd = [Timestamp::EPOCH, Timestamp::now() + Duration::from_secs(400 * 86_400)];
    let odd = odd.map(|since| entry(Uuid::now_v7(), 0, since));

    let first = [entry(id, 0, now), entry(id, 0, now), entry(id, 1, now), odd[0], odd[1]];
    let fresh = committed!(ledger, tx => ledger.insert_inbox(&mut tx, &first).await.expect("inserted"));
    assert_eq!(fresh, HashSet::from([(id, 0), (id, 1), (odd[0].id, 0), (odd[1].id, 0)]));
    let second = [entry(id, 1, now), entry(id, 2, now), odd[0], odd[1]];
    let fresh = committed!(ledger, tx => ledger.insert_inbox(&mut tx, &second).await.expect("inserted"));
    assert_eq!(fresh, HashSet::from([(id, 2)]));
    let none = committed!(ledger, tx => ledger.insert_inbox(&mut tx, &[]).await.expect("an empty call is allowed"));
    assert!(none.is_empty());

    // A rollback inserts nothing.
    let other = [entry(Uuid::now_v7(), 0, now)];
    for _ in 0..2 {
        let mut tx = ledger.begin().await.expect("a transaction begins");
        assert_eq!(ledger.insert_inbox(&mut tx, &other).await.expect("inserted").len(), 1);
        ledger.rollback(tx).await;
    }
    assert_eq!(ledger.inbox_entries().await, 5);
}

pub async fn housekeeping_deletes_only_old_entries<S: Store>() {
    const DAY: Duration = Duration::from_secs(86_400);
    let store = S::fresh().await;
    let ledger = store.ledger();
    let ages = [
        Duration::ZERO,
        3 * DAY,
        9 * DAY,
        10 * DAY - Duration::from_secs(1),
        13 * DAY,
        400 * DAY,
    ];
    let entries = ages.map(|age| InboxEntry {
        id: Uuid::now_v7(),
        attempt: 0,
        since: Timestamp::now() - age,
    });
    committed!(ledger, tx => ledger.insert_inbox(&mut tx, &entries[..3]).await.expect("inserted"));
    ledger.housekeeping(10 * DAY).await.expect("cleaned up");
    committed!(ledger, tx => ledger.insert_inbox(&mut tx, &entries[3..]).await.expect("inserted"));
    let both = tokio::join!(ledger.housekeeping(10 * DAY), ledger.housekeeping(10 * DAY));
    both.0.and(both.1).expect("two processes clean up at the same time");

    let fresh = committed!(ledger, tx => ledger.insert_inbox(&mut tx, &entries).await.expect("inserted"));
    let deleted = entries[4..].iter().map(|entry| (entry.id, 0)).collect();
    assert_eq!(fresh, deleted, "entries younger than the retention stay");
}

/// The keys of a topic of states may end, for example the processes of `ops.status`.
pub async fn progress_of_old_states_is_deleted<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let at = |last| Sequence {
        last,
        ..Sequence::default()
    };
    let [old, new] = [Uuid::now_v7(), Uuid::now_v7()];
    committed!(ledger, tx => {
        ledger.set_sequences(&mut tx, &rows("a", [(old, at(9)), (new, at(10))]), &[]).await.expect("written");
        ledger.set_sequences(&mut tx, &rows("b", [(old, at(9))]), &[]).await.expect("written");
    });
    ledger.forget_states("a", 10).await.expect("deleted");
    let of_a = committed!(ledger, tx => ledger.sequences(&mut tx, &on("a", [old, new])).await.expect("read"));
    assert_eq!(of_a, rows("a", [(new, at(10))]));
    let of_b = committed!(ledger, tx => ledger.sequences(&mut tx, &on("b", [old])).await.expect("read"));
    assert_eq!(of_b.len(), 1, "other topics stay");
}

pub async fn sequences_are_kept_by_topic_and_key<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let plain = Sequence {
        last: 7,
        last_id: Some(Uuid::now_v7()),
        ..Sequence::default()
    };
    let pending = Sequence {
        poisoned_at: Some(1),
        has_parked: true,
        ..Sequence::default()
    };
    committed!(ledger, tx => {
        let none = ledger.sequences(&mut tx, &on("a", [one, two])).await.expect("read");
        assert!(none.is_empty());
        ledger.set_sequences(&mut tx, &rows("a", [(one, plain), (two, pending)]), &[]).await.expect("written");
        ledger.set_sequences(&mut tx, &rows("b", [(one, pending)]), &[]).await.expect("written");
    });
    committed!(ledger, tx => {
        let found = ledger.sequences(&mut tx, &on("a", [one, two, Uuid::now_v7()])).await.expect("read");
        assert_eq!(sorted(found), rows("a", [(one, plain), (two, pending)]));
        assert!(ledger.sequences(&mut tx, &[]).await.expect("read").is_empty());
        ledger.set_sequences(&mut tx, &[], &rows("a", [(one, pending), (two, plain)])).await.expect("written");
        ledger.set_sequences(&mut tx, &[], &[]).await.expect("an empty call is allowed");
    });
    committed!(ledger, tx => {
        let found = ledger.sequences(&mut tx, &on("a", [one, two])).await.expect("read");
        assert_eq!(sorted(found), rows("a", [(one, pending), (two, plain)]));
    });
    // A concurrent transaction has inserted the row.
    let mut tx = ledger.begin().await.expect("a transaction begins");
    let inserted = ledger.set_sequences(&mut tx, &rows("a", [(one, plain)]), &[]).await;
    assert_eq!(inserted.expect_err("the row exists").kind, StoreErrorKind::Conflict);
    ledger.rollback(tx).await;
}

pub async fn positions_of_several_partitions_move_together<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let partitions = [("a", 1), ("a", 2), ("b", 1)].map(|(topic, partition)| TopicPartition::new(topic, partition));
    let step = |index: usize, from, to| Step {
        partition: partitions[index].clone(),
        from,
        to,
    };
    committed!(ledger, tx => {
        let first = [step(0, None, 3), step(1, None, 4)];
        assert!(ledger.advance_all(&mut tx, &first).await.expect("a result"));
        assert!(ledger.advance_all(&mut tx, &[]).await.expect("an empty call is allowed"));
    });
    committed!(ledger, tx => {
        let known_and_new = [step(0, Some(3), 5), step(1, Some(4), 6), step(2, None, 7)];
        assert!(ledger.advance_all(&mut tx, &known_and_new).await.expect("a result"));
    });
    for mismatch in [
        [step(0, Some(5), 9), step(1, Some(4), 9), step(2, Some(7), 9)],
        [step(0, Some(5), 9), step(1, Some(6), 9), step(2, None, 9)],
        [step(0, Some(0), 9), step(1, Some(0), 9), step(2, Some(0), 9)],
    ] {
        let mut tx = ledger.begin().await.expect("a transaction begins");
        assert!(
            !ledger.advance_all(&mut tx, &mismatch).await.expect("a result"),
            "{mismatch:?}"
        );
        ledger.rollback(tx).await;
    }
    let positions = ledger.positions(&partitions).await.expect("read");
    let expected = partitions.iter().cloned().zip([5, 6, 7]);
    assert_eq!(positions, expected.collect());
}

pub async fn parked_records_are_read_unchanged<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let row = |topic: &str, key: Uuid, sequence, error: &str| Parked {
        key,
        sequence,
        id: Uuid::now_v7(),
        record: Record {
            partition: TopicPartition::new(topic, 5),
            key: Some(Bytes::from(key.to_string())),
            ..record(sequence)
        },
        error: error.to_owned(),
    };
    let key = |key| TopicKey::new("a", key);
    let parked = [row("a", two, 10, ""), row("a", one, 9, "why"), row("a", one, 10, "")];
    committed!(ledger, tx => ledger.park(&mut tx, &parked).await.expect("parked"));
    committed!(ledger, tx => {
        let again = [parked[2].clone(), row("a", one, 9, "another"), row("a", one, 11, "")];
        let forks = ledger.park(&mut tx, &again).await.expect("parked records stay");
        assert_eq!(forks, [(key(one), 9)], "the number is parked under another id");
        assert_eq!(ledger.park(&mut tx, &[]).await.expect("an empty call is allowed"), []);
        ledger.park(&mut tx, &[row("b", one, 9, "")]).await.expect("the topic is another one");
    });
    committed!(ledger, tx => {
        let found = ledger.parked(&mut tx, &key(one), 0, 100).await.expect("read");
        let numbers: Vec<_> = found.iter().map(|row| (row.key, row.sequence)).collect();
        assert_eq!(numbers, [(one, 9), (one, 10), (one, 11)]);
        assert_eq!(found[..2], parked[1..]);
        let page = ledger.parked(&mut tx, &key(one), 10, 1).await.expect("read");
        assert_eq!(page, parked[2..], "one record, from this number on");
        ledger.unpark(&mut tx, &rows("a", [(one, 9), (one, 12)])).await.expect("deleted");
        ledger.unpark(&mut tx, &[]).await.expect("an empty call is allowed");
        // Parked again in the same transaction, like the records of a key that fails again.
        ledger.unpark(&mut tx, &rows("a", [(one, 10)])).await.expect("deleted");
        ledger.park(&mut tx, &[row("a", one, 10, "it failed")]).await.expect("parked");
    });
    committed!(ledger, tx => {
        let found = ledger.parked(&mut tx, &key(one), 0, 100).await.expect("read");
        let numbers: Vec<_> = found.iter().map(|row| (row.sequence, row.error.as_str())).collect();
        assert_eq!(numbers, [(10, "it failed"), (11, "")]);
        assert!(ledger.parked(&mut tx, &key(one), 12, 100).await.expect("read").is_empty());
        assert_eq!(ledger.parked(&mut tx, &key(two), 0, 100).await.expect("read"), parked[..1]);
    });
}

pub async fn dead_letters_keep_their_bytes<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let dead_letter = |record, detail: &str| DeadLetter {
        id: Uuid::now_v7(),
        reason: DeadLetterReason::MalformedEnvelope,
        detail: detail.to_owned(),
        record,
    };
    let mut odd = record(4);
    odd.key = Some(Bytes::from_static(&[0xff, 0]));
    odd.value = None;
    let dead_letters = [dead_letter(record(3), "no time"), dead_letter(odd, "no text")];
    let nul = dead_letter(
        Record {
            headers: Headers(vec![("a\0".to_owned(), "\0b".to_owned())]),
            ..record(5)
        },
        "",
    );
    committed!(ledger, tx => {
        ledger.insert_dead_letters(&mut tx, &dead_letters).await.expect("inserted");
        ledger.insert_dead_letters(&mut tx, std::slice::from_ref(&nul)).await.expect("NUL is accepted");
        ledger.insert_dead_letters(&mut tx, &[]).await.expect("an empty call is allowed");
    });
    let kept = ledger.dead_letters().await;
    assert_eq!(kept[..2], dead_letters);
    assert_eq!((kept[2].id, &kept[2].record.value), (nul.id, &nul.record.value));

    // Operators list them in pages without values, and read one with its value.
    assert_eq!(ledger.count_dead_letters().await.expect("counted"), 3);
    let page = committed!(ledger, tx => ledger.list_dead_letters(&mut tx, None, 2).await.expect("a page"));
    assert_eq!(
        page.iter().map(|kept| kept.dead_letter.id).collect::<Vec<_>>(),
        [nul.id, dead_letters[1].id]
    );
    let before = Some(dead_letters[1].id);
    let page = committed!(ledger, tx => ledger.list_dead_letters(&mut tx, before, 2).await.expect("a page"));
    let mut without_value = dead_letters[0].clone();
    without_value.record.value = None;
    assert_eq!(
        page.iter().map(|kept| &kept.dead_letter).collect::<Vec<_>>(),
        [&without_value]
    );
    let command = Uuid::now_v7();
    committed!(ledger, tx => {
        let kept = ledger.dead_letter(&mut tx, dead_letters[0].id).await.expect("read").expect("the dead letter exists");
        assert_eq!((&kept.dead_letter, kept.redriven_as), (&dead_letters[0], None));
        ledger.mark_redriven(&mut tx, dead_letters[0].id, command).await.expect("marked");
        let kept = ledger.dead_letter(&mut tx, dead_letters[0].id).await.expect("read").expect("the dead letter exists");
        assert_eq!(kept.redriven_as, Some(command));
        assert!(ledger.discard_dead_letter(&mut tx, dead_letters[1].id).await.expect("deleted"));
        assert!(!ledger.discard_dead_letter(&mut tx, dead_letters[1].id).await.expect("it may be repeated"));
        assert_eq!(ledger.dead_letter(&mut tx, dead_letters[1].id).await.expect("read"), None);
    });
    assert_eq!(ledger.count_dead_letters().await.expect("counted"), 1);
}

pub async fn schemas_are_stored<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let schema = |id, text: &str| StoredSchema {
        id,
        schema: text.to_owned(),
    };
    ledger.save_schemas(&[]).await.expect("an empty call is allowed");
    ledger
        .save_schemas(&[schema(1, "one"), schema(7, "seven")])
        .await
        .expect("saved");
    ledger
        .save_schemas(&[schema(7, "SEVEN"), schema(8, "eight")])
        .await
        .expect("saved");
    let mut schemas = ledger.schemas().await.expect("schemas");
    schemas.sort_by_key(|schema| schema.id);
    assert_eq!(schemas, [schema(1, "one"), schema(7, "SEVEN"), schema(8, "eight")]);
}

pub async fn the_store_has_no_boot_problems<S: Store>() {
    let store = S::fresh().await;
    store.ledger().ping().await.expect("the store responds");
    assert_eq!(
        store.ledger().boot_problems().await.expect("checked"),
        Vec::<String>::new()
    );
}

/// Postgres responds to the `COMMIT` of a failed transaction with a rollback and no error. A ledger that took this for a
/// commit would publish messages of something that never happened.
pub async fn a_failed_statement_cannot_be_committed<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let entry = Entry {
        key: Uuid::now_v7(),
        number: 1,
        id: Uuid::now_v7(),
    };
    committed!(ledger, tx => store.journal(&mut tx, entry).await.expect("journaled"));
    let mut tx = ledger.begin().await.expect("a transaction begins");
    let other = Entry {
        key: Uuid::now_v7(),
        ..entry
    };
    store.journal(&mut tx, other).await.expect("journaled");
    let failed: Result = store.journal(&mut tx, entry).await;
    assert_eq!(failed.expect_err("the entry exists").kind, StoreErrorKind::Conflict);
    // As after a handler that ignores the error.
    match ledger.commit(tx).await {
        Err(CommitError::RolledBack(_)) => {}
        other => panic!("the transaction was not rolled back: {other:?}"),
    }
    // A successful append before the failed statement proves nothing.
    let mut tx = ledger.begin().await.expect("a transaction begins");
    ledger
        .append(&mut tx, Uuid::now_v7(), &[message("1")])
        .await
        .expect("appended");
    let _: Result = store.journal(&mut tx, entry).await;
    match ledger.commit(tx).await {
        Err(CommitError::RolledBack(_)) => {}
        other => panic!("the transaction was not rolled back: {other:?}"),
    }
    assert_eq!(store.journaled().await, [entry]);
    // A transaction whose last statement is an append is committed.
    let owner = Uuid::now_v7();
    committed!(ledger, tx => {
        store.journal(&mut tx, other).await.expect("journaled");
        ledger.append(&mut tx, owner, &[message("2")]).await.expect("appended");
    });
    assert_eq!(store.journaled().await.len(), 2);
    assert_eq!(ledger.sweep(owner, Duration::ZERO, 10).await.expect("rows").len(), 1);
}

fn message(text: &str) -> OutboxMessage {
    OutboxMessage {
        topic: "a".to_owned(),
        key: Uuid::from_u128(7),
        value: Some(Bytes::from(text.to_owned())),
        headers: Headers(vec![
            ("ce_id".to_owned(), text.to_owned()),
            ("umlaut".to_owned(), "ä\"\\".to_owned()),
        ]),
        due_at: None,
    }
}

fn sorted(mut rows: Vec<(TopicKey, Sequence)>) -> Vec<(TopicKey, Sequence)> {
    rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    rows
}

fn record(offset: i64) -> Record {
    Record {
        partition: TopicPartition::new("a", 5),
        offset,
        timestamp: Timestamp::from_micros(1_700_000_000_000_000).expect("the time is in range"),
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(&[0, 1, 0xff])),
        headers: Headers(vec![
            ("a".to_owned(), "ä".to_owned()),
            ("a".to_owned(), "twice".to_owned()),
        ]),
    }
}
