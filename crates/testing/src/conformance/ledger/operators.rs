//! Tests of the queries for operators.

use std::time::Duration;

use contracts::{DeadLetterReason, Timestamp};
use messaging::ledger::{
    DeadLetter, DeliveryLog as _, InboxEntry, MessageTrace, OpsQueries as _, Outbox as _, OutboxMessage, Parked,
    Sequence, Transactions as _,
};
use messaging::{Headers, Record, TopicPartition};
use uuid::Uuid;

use super::{LEASE, message, record};
use crate::conformance::rows;
use crate::conformance::service::Store;
use crate::eventually;

/// Operators see for each pending key its error, the number of parked records and their age.
pub async fn pending_keys_are_listed<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let [poisoned, gap, done] = [1, 2, 3].map(Uuid::from_u128);
    let row = |topic: &str, key: Uuid, sequence, error: &str| Parked {
        key,
        sequence,
        id: Uuid::now_v7(),
        record: Record {
            partition: TopicPartition::new(topic, 5),
            ..record(sequence)
        },
        error: error.to_owned(),
    };
    let state = |last, poisoned_at, has_parked| Sequence {
        last,
        last_id: None,
        poisoned_at,
        has_parked,
    };
    let (behind_poison, behind_gap) = (state(3, Some(4), true), state(1, None, true));
    assert_eq!(ledger.pending_topics().await.expect("counted"), []);
    committed!(ledger, tx => {
        let states = [(poisoned, behind_poison), (gap, behind_gap), (done, state(9, None, false))];
        ledger.set_sequences(&mut tx, &rows("a", states), &[]).await.expect("written");
        ledger.set_sequences(&mut tx, &rows("b", [(gap, behind_gap)]), &[]).await.expect("written");
        let parked = [row("a", poisoned, 4, "why"), row("a", poisoned, 5, ""), row("a", gap, 3, ""), row("b", gap, 7, "")];
        ledger.park(&mut tx, &parked).await.expect("parked");
    });
    let mut all = Vec::new();
    let mut after: Option<(String, Uuid)> = None;
    loop {
        let cursor = after.as_ref().map(|(topic, key)| (topic.as_str(), *key));
        let page = committed!(ledger, tx => ledger.pending_keys(&mut tx, cursor, 2).await.expect("keys"));
        let Some(last) = page.last() else { break };
        after = Some((last.topic.clone(), last.key));
        all.extend(page);
    }
    let seen: Vec<_> = all
        .iter()
        .map(|pending| {
            (
                pending.topic.as_str(),
                pending.key,
                pending.last,
                pending.poisoned_at,
                pending.error.as_str(),
                pending.waiting,
            )
        })
        .collect();
    let expected = [
        ("a", poisoned, 3, Some(4), "why", 2),
        ("a", gap, 1, None, "", 1),
        ("b", gap, 1, None, "", 1),
    ];
    assert_eq!(seen, expected);
    assert!(all.iter().all(|pending| pending.age < LEASE), "{all:?}");
    let topics = ledger.pending_topics().await.expect("counted");
    let counts: Vec<_> = topics
        .iter()
        .map(|pending| (pending.topic.as_str(), pending.poisoned, pending.gaps))
        .collect();
    assert_eq!(counts, [("a", 1, 1), ("b", 0, 1)]);
    let older = eventually("the gap has an age", Duration::from_secs(5), || async {
        let topics = ledger.pending_topics().await.expect("counted");
        topics
            .into_iter()
            .find(|pending| pending.oldest_gap > Duration::from_millis(5))
    });
    assert!(older.await.oldest_gap < LEASE);
}

/// A message is found in every table, by its id and by its correlation id.
pub async fn a_message_is_found_in_every_table<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let (id, chain, key) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let headers = Headers(vec![
        ("ce_id".to_owned(), id.to_string()),
        ("ce_correlationid".to_owned(), chain.to_string()),
    ]);
    let mut its_record = Record {
        headers: headers.clone(),
        ..record(3)
    };
    // A third-party header may contain anything.
    its_record.headers.set("x-third-party", "\0\\u0000");
    let ready = OutboxMessage {
        headers,
        ..message("1")
    };
    let later = OutboxMessage {
        due_at: Some(Timestamp::now() + LEASE),
        ..ready.clone()
    };
    let entries = [1, 0].map(|attempt| InboxEntry {
        id,
        attempt,
        since: Timestamp::now(),
    });
    let dead_letter = DeadLetter {
        id: Uuid::now_v7(),
        reason: DeadLetterReason::Poison,
        detail: String::new(),
        record: its_record.clone(),
    };
    let parked = Parked {
        key,
        sequence: 5,
        id,
        record: its_record,
        error: String::new(),
    };
    let applied = Sequence {
        last: 4,
        last_id: Some(id),
        ..Sequence::default()
    };
    let found = committed!(ledger, tx => ledger.find_message(&mut tx, id).await.expect("searched"));
    assert_eq!(found, MessageTrace::default());
    committed!(ledger, tx => {
        ledger.append(&mut tx, Uuid::now_v7(), &[ready, later, message("2")]).await.expect("appended");
        ledger.insert_inbox(&mut tx, &entries).await.expect("inserted");
        ledger.set_sequences(&mut tx, &rows("a", [(key, applied)]), &[]).await.expect("written");
        ledger.park(&mut tx, &[parked]).await.expect("parked");
        ledger.insert_dead_letters(&mut tx, &[dead_letter]).await.expect("inserted");
    });
    let found = committed!(ledger, tx => ledger.find_message(&mut tx, id).await.expect("searched"));
    let chained = committed!(ledger, tx => ledger.find_message(&mut tx, chain).await.expect("searched"));
    assert_eq!(found.inbox, [0, 1]);
    assert_eq!(found.applied, [("a".to_owned(), key, 4)]);
    for found in [&found, &chained] {
        let mut due: Vec<_> = found.outbox.iter().map(|message| message.due_at.is_some()).collect();
        due.sort_unstable();
        assert_eq!(due, [false, true]);
        assert!(found.outbox.iter().all(|message| message.value.is_none()));
        let parked: Vec<_> = found
            .parked
            .iter()
            .map(|row| (row.key, row.sequence, &row.record.value))
            .collect();
        assert_eq!(parked, [(key, 5, &None)]);
        assert_eq!(
            found
                .dead_letters
                .iter()
                .map(|kept| &kept.dead_letter.record.value)
                .collect::<Vec<_>>(),
            [&None]
        );
    }
}
