//! What is special to MongoDB, against a real replica set: `MONGODB_URL`. What both stores promise is in
//! `testing::conformance`.

mod batch;
mod commit;
mod database;
mod inbox;
mod outbox;
mod position;
mod proxy;
mod sequences;
mod setup;
