//! What the store can never accept stops nobody: as little of it is kept as the store takes.

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
/// In a batch, and then alone.
const TWICE: usize = 2;

fn refuse<S: Store>(service: &Service<S>, call: &'static str, times: usize) {
    for _ in 0..times {
        service.faults.fail(call, StoreErrorKind::Broken);
    }
}

/// Nothing of the record is kept but what names it.
#[track_caller]
fn assert_stub(record: &Record, said: &str, of: &Record) {
    assert_eq!((record.offset, &record.partition), (of.offset, &of.partition));
    assert_eq!(record.value, None);
    let kept = [header::ID, header::SUBJECT, header::CORRELATION_ID, header::SEQUENCE];
    let headers = &record.headers.0;
    assert!(
        headers.iter().all(|(name, _)| kept.contains(&name.as_str())),
        "{headers:?}"
    );
    let value = of.value.as_deref().expect("it had a value");
    assert!(said.contains(&format!("{} bytes", value.len())), "{said}");
    // SHA-256 of the value, as `sha256sum` writes it.
    assert!(said.contains("SHA-256 "), "{said}");
    assert!(said.contains("a test ordered this"), "{said}");
}

/// A record that no store takes as a dead letter is kept as a stub, and the records behind it are applied.
pub async fn refused_dead_letter_becomes_a_stub<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let mut bad = service.record(order(key, "add"));
    bad.value = Some(Bytes::from_static(b"junk"));
    bad.headers.set("x-origin", "elsewhere");
    refuse(&service, "bury", TWICE);
    service
        .deliver_records(vec![bad.clone(), service.record(order(key, "add"))])
        .await;

    assert_eq!(service.versions(key).await, [1]);
    let letters = service.dead_letters().await;
    let [letter] = letters.as_slice() else {
        panic!("{letters:?}")
    };
    bad.offset = letter.record.offset;
    assert_eq!(letter.reason, DeadLetterReason::Undecodable);
    assert_stub(&letter.record, &letter.detail, &bad);
    assert_eq!(
        letter.record.headers.get(header::SUBJECT),
        Some(key.to_string().as_str())
    );
    assert_eq!(letter.record.key.as_deref(), Some(key.to_string().as_bytes()));
    assert!(letter.detail.contains(JUNK_SHA256), "{}", letter.detail);
    let id = bad
        .headers
        .get(header::ID)
        .and_then(|id| id.parse().ok())
        .expect("an id");
    assert!(matches!(service.reply(id).await, Reply::CommandFailed(_)));
    assert_eq!(service.counted(STUBS), 1.0);
    assert_eq!(service.counted(ALARM), 0.0);

    // Without anything that names it.
    refuse(&service, "bury", TWICE);
    let mut nameless = service.record(order(key, "add"));
    nameless.key = Some(Bytes::from_static(b"\0"));
    nameless.headers.0.clear();
    service.deliver_records(vec![nameless]).await;
    service.deliver(order(key, "add")).await;
    assert_eq!(service.versions(key).await, [1, 2]);
    let letters = service.dead_letters().await;
    let last = &letters.last().expect("a second one").record;
    assert_eq!(
        (last.key.clone(), last.headers.0.len(), last.value.clone()),
        (None, 0, None)
    );
}

/// A domain event that no store takes as a parked record holds its key back as a stub.
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
    assert!(parked[0].error.contains("well is not mended"), "{}", parked[0].error);
    assert!(parked[1].record.value.is_some());
    assert_eq!(service.counted(STUBS), 1.0);
}

/// A producer publishes a domain event again of which a stub is parked: it takes the stub's place, and can be released.
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

    service.hooks.mend("well");
    let released = service.release(&topics::EVENTS, key).await;
    assert_eq!((released.applied, released.poisoned_at), (0, Some(1)));

    // Twice in one batch, and once more: nothing takes the place of a record.
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

/// What fails before anything of a message is written blames no message.
pub async fn broken_begin_and_position_blame_no_message<S: Store>() {
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

/// A log with a mistake: it panics twice.
#[derive(Clone, Default)]
struct Panicking {
    calls: Arc<AtomicUsize>,
    logged: Arc<AtomicUsize>,
}

impl<L: Ledger> LogHandler<L> for Panicking {
    async fn handle(&mut self, _: &mut Unit<L>, records: &[&Record]) -> Result<u64, Failure> {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(calls >= TWICE, "a test ordered this");
        self.logged.fetch_add(records.len(), Ordering::SeqCst);
        Ok(0)
    }

    async fn stub(&mut self, _: &mut Unit<L>, _: &Record, what: &str) -> Result<(), Failure> {
        panic!("nothing is refused: {what}")
    }
}

/// A log that panics has a mistake, which no record is to blame for: nothing becomes a stub.
pub async fn panic_of_a_log_waits_with_an_alarm<S: Store>() {
    let store = S::fresh().await;
    let log = Panicking::default();
    let made = log.clone();
    let subscriptions = Subscriptions::new().log(&topics::EVENTS, move || made.clone());
    let bench = Bench::new("conformance", store.ledger(), store.ledger(), subscriptions);
    bench
        .deliver_all([happened(Uuid::now_v7(), 1, ""), happened(Uuid::now_v7(), 1, "")])
        .await;
    assert_eq!(log.logged.load(Ordering::SeqCst), 2);
    assert_eq!((bench.counted(STUBS), bench.counted(ALARM)), (0.0, 2.0));
}

/// A message whose outcome the store refuses is given up with its bytes: it alone is to blame.
pub async fn refused_outcome_gives_the_message_up<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    // A rejection fails its batch before anything is appended.
    for (word, times) in [("add", TWICE), ("reject", 1), ("from:9", TWICE)] {
        let before = service.dead_letters().await.len();
        refuse(&service, "append", times);
        let (bad, next) = (order(key, word), order(key, "add"));
        let id = bad.id;
        service.deliver_all([bad, next]).await;
        let letters = service.dead_letters().await;
        assert_eq!(letters.len(), before + 1, "{word}");
        let last: &DeadLetter = letters.last().expect("one");
        assert_eq!(last.reason, DeadLetterReason::Poison, "{word}");
        assert!(last.detail.contains("a test ordered this"), "{}", last.detail);
        assert!(last.record.value.is_some(), "{word}");
        assert!(matches!(service.reply(id).await, Reply::CommandFailed(_)), "{word}");
    }
    assert_eq!(service.versions(key).await, [1, 2, 3]);
    assert_eq!(service.counted(STUBS), 0.0);
}

/// While the store refuses even a stub, the partition waits, and raises an alarm.
pub async fn refused_stub_waits_with_an_alarm<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let mut bad = service.record(order(key, "add"));
    bad.value = Some(Bytes::from_static(b"junk"));
    // In a batch, alone, as a stub, and three times more. A stub of the log would not help, because the log did not fail.
    refuse(&service, "bury", 6);
    service.deliver_records(vec![bad]).await;
    service.deliver(order(key, "add")).await;
    assert_eq!(service.versions(key).await, [1]);
    assert_eq!(service.dead_letters().await.len(), 1);
    assert_eq!(service.counted(ALARM), 4.0);
}

/// Records larger than what some stores keep in one row, wherever the bytes are.
pub async fn record_larger_than_a_document_stops_nobody<S: Store>() {
    const LARGE: usize = 17 * 1024 * 1024;
    type Grow = fn(&mut Record);
    let places: [(&str, Grow); 4] = [
        ("the value", |record| record.value = Some(vec![7; LARGE].into())),
        ("the key", |record| record.key = Some(vec![7; LARGE].into())),
        ("a header", |record| record.headers.set("x-large", "7".repeat(LARGE))),
        ("a header's name", |record| record.headers.set(&"7".repeat(LARGE), "")),
    ];
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    for (index, (place, grow)) in (1..).zip(places) {
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
        assert_eq!(service.versions(key).await.len() as i64, index, "{place}");
        assert_eq!(service.numbers(key).await.len() as i64, index, "{place}");
        let (letters, parked) = (service.dead_letters().await, service.parked().await);
        assert_eq!((letters.len() + parked.len()) as i64, 2 * index, "{place}");
    }
    // What was kept can be read, also by operators.
    service.assign_now(&topics::USERS_COMMANDS).await;
    service.deliver(order(key, "add")).await;
    assert_eq!(service.versions(key).await.len(), places.len() + 1);
}
