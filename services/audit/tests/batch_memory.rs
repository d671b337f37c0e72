//! Measures the memory that recording one batch takes. This binary has only one test, because the allocator counts all
//! allocations of the process.

use audit::metrics::Metrics;
use audit::{store, subscriptions};
use contracts::{Timestamp, UserCreated, UserEvent};
use messaging::{Outgoing, Record, header};
use mongo::Mongo;
use mongodb::bson::{Document, doc};
use peak_alloc::PeakAlloc;
use serde_json::json;
use testing::Bench;
use uuid::Uuid;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

/// Maximum number of bytes that a batch may allocate. The container of the service has 256 MiB.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Maximum number of records in a worker's batch.
const BATCH: usize = 500;

const SCHEMA: i32 = 1_001;

/// Returns a third party's schema: an array of records, each with one field that has a long name.
fn schema() -> String {
    let item = json!({ "type": "record", "name": "Item", "fields": [{ "name": "a".repeat(60_000), "type": "null" }] });
    let items = json!({ "type": "array", "items": item });
    json!({
        "type": "record", "namespace": "elsewhere", "name": "Foreign", "fields": [{ "name": "items", "type": items }],
    })
    .to_string()
}

/// Returns a record with that schema. Its datum has two bytes, regardless of the number of items.
fn third_party(bench: &Bench<Mongo>, items: u8) -> Record {
    let created = UserCreated {
        created_at: Timestamp::EPOCH,
    };
    let mut record = bench.record(Outgoing::<UserEvent>::new(Uuid::now_v7(), created).sequence(1));
    record.headers.set(header::TYPE, "elsewhere.Foreign");
    record.value = Some([&[0][..], &SCHEMA.to_be_bytes(), &[items * 2, 0]].concat().into());
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_bounded_memory() {
    let database = testing::mongo().await;
    let ledger = database.ledger();
    store::schema()
        .prepare(&ledger)
        .await
        .expect("collections can be created");
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("the registry is empty");
    let bench = Bench::new("audit", ledger.clone(), ledger, subscriptions(&metrics));
    let learned = bench.codec().learn(SCHEMA, &schema());
    learned.expect("the schema is within the limits");
    let count = async |filter: Document| {
        let entries = database.ledger().collection::<Document>(store::ENTRIES);
        let count = entries.count_documents(filter).await;
        count.expect("entries can be counted") as usize
    };
    // One beyond and one within the limit of the decoded size.
    for (items, decoded) in [(60, 0), (1, BATCH)] {
        let records: Vec<_> = (0..BATCH).map(|_| third_party(&bench, items)).collect();
        let before = COUNTED.current_usage();
        COUNTED.reset_peak_usage();
        bench.deliver_records(records).await;
        let allocated = COUNTED.peak_usage().saturating_sub(before);
        eprintln!("{items} items: {:.1} MiB", allocated as f64 / 1024.0 / 1024.0);
        assert!(allocated < MAX_BYTES, "{items} items: {allocated} bytes");
        assert_eq!(count(doc! { "content": { "$exists": true } }).await, decoded);
    }
    assert_eq!(count(doc! {}).await, 2 * BATCH);
    assert_eq!(bench.counted("rollcall_stubs_total"), 0.0);
}
