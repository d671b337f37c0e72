//! A record that the store can never accept stops no partition: a stub of it is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use contracts::replies::Reply;
use contracts::{DeadLetterReason, topics};
use messaging::ledger::{DeadLetter, Ledger, StoreErrorKind};
use messaging::{Failure, LogHandler, Record, Subscriptions, Unit, header};
use uuid::Uuid;

use crate::bench::Bench;

use super::service::{Service, Store, happened, order};

const STUBS: &str = "rollcall_stubs_total";
const ALARM: &str = "rollcall_unexpected_store_errors_total";
/// `printf junk | sha256sum`
const JUNK_SHA256: &str = "ef875a1705a5fdac206be996f4dc1f726ea6b68861eb741c37def7277f179e37";
/// The number of attempts: in a batch, and then alone.
const TWICE: usize = 2;

fn refuse<S: Store>(service: &Service<S>, call: &'static str, times: usize) {
    for _ in 0..times {
        service.faults.fail(call, StoreErrorKind::Broken);
    }
}

/// Checks that the stub contains only the identifiers of the record.
#[track_caller]
fn assert_stub(record: &Record, description: &str, of: &Record) {
    assert_eq!((record.offset, &record.partition), (of.offset, &of.partition));
    assert_eq!(record.value, None);
    let kept = [header::ID, header::SUBJECT, header::CORRELATION_ID, header::SEQUENCE];
    let headers = &record.headers.0;
    assert!(
        headers.iter().all(|(name, _)| kept.contains(&name.as_str())),
        "{headers:?}"
    );
    let value = of.value.as_deref().expect("the record has a value");
    assert!(description.contains(&format!("{} bytes", value.len())), "{description}");
    // SHA-256 of the value, as `sha256sum` writes it.
    assert!(description.contains("SHA-256 "), "{description}");
    assert!(description.contains("a test ordered this"), "{description}");
}

/// A record that the store refuses as a dead letter is stored as a stub, and the records after it are applied.
pub async fn refused_dead_letter_becomes_a_stub<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let mut bad = service.record(order(key, "add"));
    bad.value = Some(Bytes::from_static(b"junk"));
    bad.headers.set("x-origin", "elsewhere");
    refuse(&service, "insert_dead_letters", TWICE);
    service
        .deliver_records(vec![bad.clone(), service.record(order(key, "add"))])
        .await;

    assert_eq!(service.versions(key).await, [1]);
    let dead_letters = service.dead_letters().await;
    let [dead_letter] = dead_letters.as_slice() else {
        panic!("{dead_letters:?}")
    };
    bad.offset = dead_letter.record.offset;
    assert_eq!(dead_letter.reason, DeadLetterReason::Undecodable);
    assert_stub(&dead_letter.record, &dead_letter.detail, &bad);
    assert_eq!(
        dead_letter.record.headers.get(header::SUBJECT),
        Some(key.to_string().as_str())
    );
    assert_eq!(dead_letter.record.key.as_deref(), Some(key.to_string().as_bytes()));
    assert!(dead_letter.detail.contains(JUNK_SHA256), "{}", dead_letter.detail);
    let id = bad
        .headers
        .get(header::ID)
        .and_then(|id| id.parse().ok())
        .expect("an id");
    assert!(matches!(service.reply(id).await, Reply::CommandFailed(_)));
    assert_eq!(service.counted(STUBS), 1.0);
    assert_eq!(service.counted(ALARM), 0.0);

    // A record without identifiers.
    refuse(&service, "insert_dead_letters", TWICE);
    let mut nameless = service.record(order(key, "add"));
    nameless.key = Some(Bytes::from_static(b"\0"));
    nameless.headers.0.clear();
    service.deliver_records(vec![nameless]).await;
    service.deliver(order(key, "add")).await;
    assert_eq!(service.versions(key).await, [1, 2]);
    let dead_letters = service.dead_letters().await;
    let last = &dead_letters.last().expect("a second one").record;
    assert_eq!(
        (last.key.clone(), last.headers.0.len(), last.value.clone()),
        (None, 0, None)
    );
}

/// A domain event that the store refuses to park is parked as a stub.
pub async fn refused_parked_record_becomes_a_stub<S: Store>() {
    let service = Service::<S>::start().await;
    let (key, other) = (Uuid::now_v7(), Uuid::now_v7());
    let bad = service.record(happened(key, 1, "poison:well"));
    refuse(&service, "park", TWICE);
    service
        .deliver_records(vec![bad.clone(), service.record(happened(other, 1, ""))])
        .await;
    service.deliver(happened(key, 2, "")).await;
    service.deliver(happened(other, 2, "")).await;

    assert_eq!(service.numbers(other).await, [1, 2]);
    assert_eq!(service.numbers(key).await, [0_i64; 0]);
    let parked = service.parked().await;
    assert_eq!(parked.iter().map(|row| row.sequence).collect::<Vec<_>>(), [1, 2]);
    let of = Record {
        offset: parked[0].record.offset,
        ..bad
    };
    assert_stub(&parked[0].record, &parked[0].error, &of);
    assert!(parked[0].error.contains("well is not fixed"), "{}", parked[0].error);
    assert!(parked[1].record.value.is_some());
    assert_eq!(service.counted(STUBS), 1.0);
}

/// If a producer publishes a domain event again whose stub is parked, the record replaces the stub and can be released.
pub async fn parked_stub_is_replaced_by_the_record<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let event = service.record(happened(key, 1, "poison:well"));
    refuse(&service, "park", TWICE);
    service.deliver_records(vec![event.clone()]).await;
    service.deliver(happened(key, 2, "")).await;
    let parked = service.parked().await;
    assert_eq!(
        parked.iter().map(|row| row.record.value.is_some()).collect::<Vec<_>>(),
        [false, true]
    );

    service.hooks.fix("well");
    let released = service.release(&topics::EVENTS, key).await;
    assert_eq!((released.applied, released.poisoned_at), (0, Some(1)));

    // Twice in one batch, and once more: a parked record is not replaced.
    service.deliver_records(vec![event.clone(), event.clone()]).await;
    service.deliver_records(vec![event.clone()]).await;
    let parked = service.parked().await;
    assert_eq!(parked.len(), 2);
    assert_eq!((&parked[0].record.value, parked[0].sequence), (&event.value, 1));
    assert_eq!(parked[0].record.headers, event.headers);
    let released = service.release(&topics::EVENTS, key).await;
    assert_eq!((released.applied, released.poisoned_at), (2, None));
    assert_eq!(service.numbers(key).await, [1, 2]);
    assert_eq!(service.parked().await, []);
}

/// An error before any data of a message is written dead-letters no message.
pub async fn errors_of_begin_and_position_dead_letter_no_message<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    for (index, call) in (1..).zip(["begin", "advance"]) {
        refuse(&service, call, TWICE);
        service.deliver(happened(key, index, "")).await;
    }
    assert_eq!(service.numbers(key).await, [1, 2]);
    assert_eq!(service.dead_letters().await, []);
    assert_eq!((service.counted(STUBS), service.counted(ALARM)), (0.0, 4.0));
}

/// A log handler with a bug: it panics twice.
#[derive(Clone, Default)]
struct PanickingLog {
    calls: Arc<AtomicUsize>,
    logged: Arc<AtomicUsize>,
}

impl<L: Ledger> LogHandler<L> for PanickingLog {
    async fn handle(&mut self, _: &mut Unit<L>, records: &[&Record]) -> Result<u64, Failure> {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(calls >= TWICE, "a test ordered this");
        self.logged.fetch_add(records.len(), Ordering::SeqCst);
        Ok(0)
    }

    async fn stub(&mut self, _: &mut Unit<L>, _: &Record, what: &str) -> Result<(), Failure> {
        panic!("unexpected stub: {what}")
    }
}

/// A panic is a bug of the log handler, not a fault of a record, so no record becomes a stub.
pub async fn a_panicking_log_handler_waits_and_raises_an_alert<S: Store>() {
    let store = S::fresh().await;
    let log = PanickingLog::default();
    let handler = log.clone();
    let subscriptions = Subscriptions::new().log(&topics::EVENTS, move || handler.clone());
    let bench = Bench::new("conformance", store.ledger(), store.ledger(), subscriptions);
    bench
        .deliver_all([happened(Uuid::now_v7(), 1, ""), happened(Uuid::now_v7(), 1, "")])
        .await;
    assert_eq!(log.logged.load(Ordering::SeqCst), 2);
    assert_eq!((bench.counted(STUBS), bench.counted(ALARM)), (0.0, 2.0));
}

/// A message whose outcome the store refuses is dead-lettered with its bytes, without its neighbours.
pub async fn a_message_with_a_refused_outcome_is_dead_lettered<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    // A rejection fails its batch before anything is appended.
    for (word, times) in [("add", TWICE), ("reject", 1), ("from:9", TWICE)] {
        let before = service.dead_letters().await.len();
        refuse(&service, "append", times);
        let (bad, next) = (order(key, word), order(key, "add"));
        let id = bad.id;
        service.deliver_all([bad, next]).await;
        let dead_letters = service.dead_letters().await;
        assert_eq!(dead_letters.len(), before + 1, "{word}");
        let last: &DeadLetter = dead_letters.last().expect("one");
        assert_eq!(last.reason, DeadLetterReason::Poison, "{word}");
        assert!(last.detail.contains("a test ordered this"), "{}", last.detail);
        assert!(last.record.value.is_some(), "{word}");
        assert!(matches!(service.reply(id).await, Reply::CommandFailed(_)), "{word}");
    }
    assert_eq!(service.versions(key).await, [1, 2, 3]);
    assert_eq!(service.counted(STUBS), 0.0);
}

/// While the store refuses even a stub, the partition waits and raises an alert.
pub async fn a_refused_stub_waits_and_raises_an_alert<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let mut bad = service.record(order(key, "add"));
    bad.value = Some(Bytes::from_static(b"junk"));
    // In a batch, alone, as a stub, and three more times. A stub of the log would not help, because the log did not fail.
    refuse(&service, "insert_dead_letters", 6);
    service.deliver_records(vec![bad]).await;
    service.deliver(order(key, "add")).await;
    assert_eq!(service.versions(key).await, [1]);
    assert_eq!(service.dead_letters().await.len(), 1);
    assert_eq!(service.counted(ALARM), 4.0);
}

/// Records that are larger than the row limit of a store, in the value, the key or the headers, stop no partition.
pub async fn a_record_larger_than_a_document_stops_no_partition<S: Store>() {
    const LARGE: usize = 17 * 1024 * 1024;
    type Grow = fn(&mut Record);
    let locations: [(&str, Grow); 4] = [
        ("the value", |record| record.value = Some(vec![7; LARGE].into())),
        ("the key", |record| record.key = Some(vec![7; LARGE].into())),
        ("a header", |record| record.headers.set("x-large", "7".repeat(LARGE))),
        ("a header's name", |record| record.headers.set(&"7".repeat(LARGE), "")),
    ];
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    for (index, (location, grow)) in (1..).zip(locations) {
        let mut command = service.record(order(Uuid::now_v7(), "poison:well"));
        let mut event = service.record(happened(Uuid::now_v7(), 1, "poison:well"));
        grow(&mut command);
        grow(&mut event);
        let records = vec![
            command,
            service.record(order(key, "add")),
            event,
            service.record(happened(key, index, "")),
        ];
        service.deliver_records(records).await;
        assert_eq!(service.versions(key).await.len() as i64, index, "{location}");
        assert_eq!(service.numbers(key).await.len() as i64, index, "{location}");
        let (dead_letters, parked) = (service.dead_letters().await, service.parked().await);
        assert_eq!((dead_letters.len() + parked.len()) as i64, 2 * index, "{location}");
    }
    // The stored records can be read.
    service.assign_now(&topics::USERS_COMMANDS).await;
    service.deliver(order(key, "add")).await;
    assert_eq!(service.versions(key).await.len(), locations.len() + 1);
}
