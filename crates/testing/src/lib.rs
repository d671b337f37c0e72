#![doc = include_str!("../README.md")]

mod bench;
pub mod conformance;
mod env;
mod eventually;
mod faulty;
mod inside;
mod janitor;
mod kafka;
mod kafka_proxy;
mod mongo;
mod postgres;

pub use bench::Bench;
pub use env::{Env, env};
pub use eventually::eventually;
pub use faulty::{CommitFault, Faults, FaultyLedger, FaultyTx, LateCommit, Pause};
pub use inside::Inside;
pub use kafka::{KafkaTopics, invalid_utf8};
pub use kafka_proxy::KafkaProxy;
pub use mongo::{MongoDatabase, mongo};
pub use postgres::{PostgresDatabase, postgres};

use std::time::{Duration, SystemTime};

use uuid::Uuid;

/// Returns `true` if `name` is a UUIDv7 older than `age`. A name of another form was not created by a test.
fn is_stale(name: &str, age: Duration) -> bool {
    let created = Uuid::try_parse(name).ok().and_then(|id| id.get_timestamp());
    let Some(created) = created else { return false };
    let (seconds, nanos) = created.to_unix();
    let created = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    created.elapsed().is_ok_and(|elapsed| elapsed > age)
}
