//! Tests of the parts that only MongoDB has, against a real replica set (`MONGODB_URL`). `testing::conformance` tests what
//! both stores have in common.

mod batch;
mod commit;
mod database;
mod growth;
mod inbox;
mod outbox;
mod position;
mod proxy;
mod sequences;
mod setup;
