#![doc = include_str!("../README.md")]

mod certificate;
mod certifier;
mod checkpoint;
pub mod config;
pub mod entry;
pub mod finding;
pub mod leaf;
pub mod merkle;
pub mod metrics;
mod migration;
mod notary;
mod queries;
mod recorder;
mod signer;
pub mod store;
pub mod stream;
mod tree;

use std::collections::HashMap;

use contracts::{Kind, Topic, topics};
use messaging::Subscriptions;
use mongo::Mongo;

use crate::metrics::Metrics;
use crate::queries::QueryHandler;
use crate::recorder::Recorder;

pub use certifier::Certifier;
pub use migration::grow_trees;
pub use notary::Notary;
pub use queries::MAX_PAGE_ROWS;
pub use signer::Signer;

/// Returns all subscriptions of this service: it records every topic except the compacted ones, and also handles
/// `audit.queries`.
pub fn subscriptions(metrics: &Metrics) -> Subscriptions<Mongo> {
    let recorded = recorded().fold(Subscriptions::new(), |subscriptions, topic| {
        let metrics = metrics.clone();
        subscriptions.log(topic, move || Recorder {
            topic,
            metrics: metrics.clone(),
            trees: HashMap::new(),
        })
    });
    recorded.handle(|| QueryHandler)
}

/// Returns the topics that are recorded. Compacted topics are not, because state is not history and may have to be erased.
pub fn recorded() -> impl Iterator<Item = &'static Topic> {
    topics::ALL.iter().copied().filter(|topic| topic.kind != Kind::State)
}
