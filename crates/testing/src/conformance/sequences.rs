//! Domain events are applied completely and in order for each key.

use bytes::Bytes;
use contracts::{DeadLetterReason, EventCancelled, EventEvent, Record as _, Registry, topics};
use messaging::{Outgoing, Record, Released, header};
use uuid::Uuid;

use super::race;
use super::service::{Service, Store, happened};
use crate::faulty::CommitFault;

/// An unknown type advances the sequence and is skipped, which allows new types to be rolled out.
pub async fn unhandled_type_advances_sequence<S: Store>() {
    let service = Service::<S>::start().await;
    let (in_order, ahead) = (Uuid::now_v7(), Uuid::now_v7());
    for key_and_number in [
        (in_order, 1),
        (in_order, 2),
        (in_order, 3),
        (ahead, 3),
        (ahead, 2),
        (ahead, 1),
    ] {
        let (key, number) = key_and_number;
        let mut record = service.record(happened(key, number, ""));
        if number == 2 {
            record.headers.set(header::TYPE, "rollcall.events.EventRenamed");
        }
        service.deliver_records(vec![record]).await;
        service.deliver_again().await;
    }
    assert_eq!(service.numbers(in_order).await, [1, 3]);
    assert_eq!(service.numbers(ahead).await, [1, 3]);
}

/// A key has records on two partitions, so two workers access it: one parks, the other applying.
pub async fn park_and_apply_race_on_one_key<S: Store>() {
    for before in [0, 1] {
        for parks_first in [true, false] {
            let parking = Service::<S>::with_partitions(2).await;
            let applying = parking.another();
            let key = Uuid::now_v7();
            for number in 1..=before {
                parking.deliver(happened(key, number, "")).await;
            }
            let (ahead, next) = (happened(key, before + 2, ""), happened(key, before + 1, ""));
            let (ahead, next) = (at(1, parking.record(ahead)), at(0, parking.record(next)));
            parking.append_records(vec![ahead, next]);

            let park = parking.catch_up_on(&topics::EVENTS, 1);
            let apply = applying.catch_up_on(&topics::EVENTS, 0);
            if parks_first {
                race(&parking.faults, park, &applying.faults, apply).await;
            } else {
                race(&applying.faults, apply, &parking.faults, park).await;
            }

            let all: Vec<_> = (1..=before + 2).collect();
            assert_eq!(
                parking.numbers(key).await,
                all,
                "{before} before, parks first: {parks_first}"
            );
            assert_eq!(parking.parked().await, []);
        }
    }
}

fn at(partition: i32, mut record: Record) -> Record {
    record.partition.partition = partition;
    record
}

/// A message that arrives during a release is applied after the released messages, whichever commits first.
pub async fn release_races_with_arrival<S: Store>() {
    for release_first in [true, false] {
        let service = Service::<S>::start().await;
        let other = service.another();
        let key = Uuid::now_v7();
        service.deliver(happened(key, 1, "poison:well")).await;
        service.deliver(happened(key, 2, "")).await;
        assert_eq!(service.parked().await.len(), 2);
        service.hooks.fix("well");
        other.hooks.fix("well");

        service.append(happened(key, 3, ""));
        let release = async {
            other.release(&topics::EVENTS, key).await;
        };
        let arrive = service.catch_up();
        if release_first {
            race(&other.faults, release, &service.faults, arrive).await;
        } else {
            race(&service.faults, arrive, &other.faults, release).await;
        }

        assert_eq!(service.numbers(key).await, [1, 2, 3], "release first: {release_first}");
        assert_eq!(service.parked().await, []);
        service.deliver(happened(key, 4, "")).await;
        assert_eq!(service.numbers(key).await, [1, 2, 3, 4]);
    }
}

/// A release stops at the next poison message, and the key stays parked from there.
pub async fn release_hits_a_second_poison<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    for (number, word) in [(1, "poison:first"), (2, ""), (3, "poison:second"), (4, "")] {
        service.deliver(happened(key, number, word)).await;
    }
    assert_eq!(numbers_of(&service.parked().await), [1, 2, 3, 4]);

    service.hooks.fix("first");
    let released = service.release(&topics::EVENTS, key).await;
    assert_eq!(
        released,
        Released {
            applied: 2,
            poisoned_at: Some(3)
        }
    );
    service.deliver(happened(key, 5, "")).await;
    assert_eq!(service.numbers(key).await, [1, 2]);
    let parked = service.parked().await;
    assert_eq!(numbers_of(&parked), [3, 4, 5]);
    assert!(
        parked[0].error.contains("second is not fixed"),
        "the error of the parked message: {}",
        parked[0].error
    );

    service.hooks.fix("second");
    let released = service.release(&topics::EVENTS, key).await;
    assert_eq!(
        released,
        Released {
            applied: 3,
            poisoned_at: None
        }
    );
    assert_eq!(
        service.release(&topics::EVENTS, key).await,
        Released::default(),
        "nothing is left to release"
    );
    service.deliver(happened(key, 6, "")).await;
    assert_eq!(service.numbers(key).await, [1, 2, 3, 4, 5, 6]);
}

/// A failed release changes nothing, and can be repeated.
pub async fn failed_release_changes_nothing<S: Store>() {
    for fault in [
        CommitFault::RolledBack,
        CommitFault::UnknownCommitted,
        CommitFault::UnknownRolledBack,
    ] {
        let service = Service::<S>::start().await;
        let key = Uuid::now_v7();
        service
            .deliver_all([happened(key, 1, "poison:well"), happened(key, 2, "")])
            .await;
        service.parked().await;
        service.hooks.fix("well");
        service.faults.commit(fault);
        service.release(&topics::EVENTS, key).await;
        assert_eq!(service.numbers(key).await, [1, 2], "{fault:?}");
        assert_eq!(service.inside().parked_records().await, []);
    }
}

/// A domain event that cannot be decoded parks its key, if its key and sequence can be read, because the next message
/// must not be applied in its place.
pub async fn undecodable_domain_event_parks_its_key<S: Store>() {
    type Corrupt = fn(&mut Record);
    let broken: [(&str, Corrupt); 7] = [
        ("not framed", |record| record.value = Some(Bytes::from_static(b"junk"))),
        ("another record", |record| {
            record.value = Some(Bytes::from_static(b"\0\0\0\0\x01junk"))
        }),
        ("cut off", |record| {
            let value = record.value.take().expect("the record has a value");
            record.value = Some(value.slice(..value.len() - 1));
        }),
        ("no value", |record| record.value = None),
        ("no time", |record| {
            record.headers.0.retain(|(name, _)| name != header::TIME)
        }),
        ("no type", |record| {
            record.headers.0.retain(|(name, _)| name != header::TYPE)
        }),
        ("no id", |record| record.headers.set(header::ID, "not-a-uuid")),
    ];
    let service = Service::<S>::start().await;
    for (fault, corrupt) in broken {
        let (key, neighbour) = (Uuid::now_v7(), Uuid::now_v7());
        let mut bad = service.record(happened(key, 2, ""));
        corrupt(&mut bad);
        service.deliver(happened(key, 1, "")).await;
        service.deliver_records(vec![bad]).await;
        service.deliver_again().await;
        service
            .deliver_all([happened(key, 3, ""), happened(neighbour, 1, "")])
            .await;

        assert_eq!(service.numbers(key).await, [1], "{fault}");
        assert_eq!(service.numbers(neighbour).await, [1], "{fault}");
        let parked = service.parked().await;
        let parked: Vec<_> = parked.iter().filter(|row| row.key == key).collect();
        assert_eq!(
            parked.iter().map(|row| row.sequence).collect::<Vec<_>>(),
            [2, 3],
            "{fault}"
        );
        assert!(!parked[0].error.is_empty() && parked[1].error.is_empty(), "{fault}");
        let released = service.release(&topics::EVENTS, key).await;
        assert_eq!(
            released,
            Released {
                applied: 0,
                poisoned_at: Some(2)
            },
            "{fault}"
        );
    }
    assert_eq!(service.dead_letters().await, []);
}

/// A message that is delivered several times is parked once and applied once.
pub async fn parked_duplicate_is_one_row<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let ahead = happened(key, 3, "");
    service.deliver_all([ahead.clone(), ahead.clone()]).await;
    service.deliver_again().await;
    service.deliver(ahead.clone()).await;
    assert_eq!(numbers_of(&service.parked().await), [3]);
    service.deliver_all([happened(key, 1, ""), ahead.clone()]).await;
    assert_eq!(numbers_of(&service.parked().await), [3]);
    service
        .deliver_all([ahead.clone(), happened(key, 2, ""), ahead.clone()])
        .await;
    service.deliver(ahead).await;
    assert_eq!(service.numbers(key).await, [1, 2, 3]);

    // The same behind a poison message.
    let poison = happened(key, 4, "poison:well");
    let behind = happened(key, 5, "");
    service
        .deliver_all([poison.clone(), behind.clone(), behind.clone(), poison.clone()])
        .await;
    service.deliver_all([poison, behind]).await;
    assert_eq!(numbers_of(&service.parked().await), [4, 5]);
    service.hooks.fix("well");
    service.release(&topics::EVENTS, key).await;
    assert_eq!(service.numbers(key).await, [1, 2, 3, 4, 5]);
}

/// A producer that was restored from a backup uses sequences again, which raises an alert.
pub async fn same_sequence_other_id_alarms<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    service.deliver(happened(key, 1, "")).await;
    let applied = happened(key, 1, "");
    service.deliver(applied.clone()).await;
    service.deliver(happened(key, 3, "")).await;
    let waiting = happened(key, 3, "");
    service.deliver(waiting.clone()).await;
    let (first, second) = (happened(key, 4, ""), happened(key, 4, ""));
    service.deliver_all([first, second.clone()]).await;

    let dead_letters = service.dead_letters().await;
    let forks: Vec<_> = dead_letters
        .iter()
        .map(|dead_letter| header_id(&dead_letter.record))
        .collect();
    assert_eq!(forks, [applied.id, waiting.id, second.id]);
    assert!(
        dead_letters
            .iter()
            .all(|dead_letter| dead_letter.reason == DeadLetterReason::Fork)
    );
    service.deliver(happened(key, 2, "")).await;
    assert_eq!(service.numbers(key).await, [1, 2, 3, 4]);
}

/// The same for a parked key: its parked messages are compared too.
pub async fn same_sequence_other_id_alarms_behind_a_poison_message<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let poison = happened(key, 1, "poison:well");
    let behind = happened(key, 2, "");
    service.deliver_all([poison.clone(), behind.clone()]).await;
    let forks = [happened(key, 1, ""), happened(key, 2, "")];
    service.deliver_all(forks.clone()).await;
    service.deliver_all([poison, behind]).await; // duplicates are not forks

    let dead_letters = service.dead_letters().await;
    let ids: Vec<_> = dead_letters
        .iter()
        .map(|dead_letter| header_id(&dead_letter.record))
        .collect();
    assert_eq!(ids, forks.map(|fork| fork.id));
    assert!(
        dead_letters
            .iter()
            .all(|dead_letter| dead_letter.reason == DeadLetterReason::Fork)
    );
    assert_eq!(numbers_of(&service.parked().await), [1, 2]);
    service.hooks.fix("well");
    assert_eq!(service.release(&topics::EVENTS, key).await.applied, 2);
    assert_eq!(service.numbers(key).await, [1, 2]);
}

fn header_id(record: &Record) -> Uuid {
    let id = record.headers.get(header::ID).expect("the record has an id");
    id.parse().expect("the record has an id")
}

/// A message that was parked behind a gap fails when it is applied: its key stays parked, and its row stores the error.
pub async fn parked_message_that_fails_keeps_its_error<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    service
        .deliver_all([happened(key, 2, "poison:well"), happened(key, 3, "")])
        .await;
    service.deliver(happened(key, 1, "")).await;

    assert_eq!(service.numbers(key).await, [1]);
    let parked = service.parked().await;
    assert_eq!(numbers_of(&parked), [2, 3]);
    assert!(parked[0].error.contains("well is not fixed"), "{:?}", parked[0].error);
    assert_eq!(parked[1].error, "");
    service.hooks.fix("well");
    assert_eq!(service.release(&topics::EVENTS, key).await.applied, 2);
    assert_eq!(service.numbers(key).await, [1, 2, 3]);
}

/// A domain event cannot be rejected or deferred. A handler that tries to do so parks the key.
pub async fn a_rejected_domain_event_parks_its_key<S: Store>() {
    for word in ["reject", "too-early"] {
        let service = Service::<S>::start().await;
        let key = Uuid::now_v7();
        service
            .deliver_all([happened(key, 1, word), happened(key, 2, "")])
            .await;
        assert_eq!(numbers_of(&service.parked().await), [1, 2], "{word}");
        let released = service.release(&topics::EVENTS, key).await;
        assert_eq!(
            released,
            Released {
                applied: 0,
                poisoned_at: Some(1)
            },
            "{word}"
        );
        assert_eq!(service.numbers(key).await, [0; 0]);
    }
}

/// A message of a newer producer is parked behind a gap. Another process than the one that fetched its schema applies it.
pub async fn parked_message_of_a_newer_schema_is_read<S: Store>() {
    let fetching = Service::<S>::with_registry().await;
    let applying = fetching.another();
    let key = Uuid::now_v7();
    let newer = EventCancelled::SCHEMA.replacen(
        "\"fields\": [",
        r#""fields": [{ "name": "refund", "type": "string", "default": "" },"#,
        1,
    );
    let subject = format!("testing-{key}");
    let registry = Registry::new(&crate::env().schema_registry_url);
    let id = registry
        .register(&subject, &newer)
        .await
        .expect("the registry accepts the schema");
    let mut record = fetching.record(happened(key, 2, ""));
    let old = record.value.take().expect("the record has a value");
    // The new field is the first one. An empty string is encoded as one byte, its length.
    let value = [&[0], &id.to_be_bytes()[..], &[0], &old[5..]].concat();
    record.value = Some(Bytes::from(value));

    fetching.deliver_records(vec![record]).await;
    assert_eq!(numbers_of(&fetching.parked().await), [2]);
    applying.assign_now(&topics::EVENTS).await;
    applying.deliver(happened(key, 1, "")).await;
    assert_eq!(fetching.numbers(key).await, [1, 2]);
    assert_eq!(fetching.parked().await, []);
}

/// The messages of one key are applied in order, whatever their order, duplicates and batches.
pub async fn any_order_any_batches<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let events: Vec<Outgoing<EventEvent>> = (1..=9).map(|number| happened(key, number, "")).collect();
    let order = [3, 1, 9, 2, 2, 5, 4, 8, 3, 7, 6, 9, 1];
    let mut rest = &order[..];
    for size in [1, 4, 2, 3, 3] {
        let (batch, after) = rest.split_at(size);
        rest = after;
        service
            .deliver_all(batch.iter().map(|number| events[number - 1].clone()))
            .await;
        service.parked().await;
    }
    assert_eq!(service.numbers(key).await, (1..=9).collect::<Vec<_>>());
    let ids: Vec<_> = service.store.effects().await.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, events.iter().map(|event| event.id).collect::<Vec<_>>());
    assert_eq!(service.inside().parked_records().await, []);
}

fn numbers_of(parked: &[messaging::ledger::Parked]) -> Vec<i64> {
    parked.iter().map(|row| row.sequence).collect()
}
