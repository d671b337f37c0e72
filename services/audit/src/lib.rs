#![doc = include_str!("../README.md")]

pub mod config;
pub mod entry;
pub mod finding;
pub mod metrics;
mod queries;
mod recorder;
pub mod store;
pub mod stream;

use contracts::{Kind, Topic, topics};
use messaging::Subscriptions;
use mongo::Mongo;

use crate::metrics::Metrics;
use crate::queries::Answers;
use crate::recorder::Recorder;

pub use queries::LONGEST_PAGE;

/// Everything this service listens to: it records every topic but the compacted ones, and answers
/// `audit.queries`, which it records too.
pub fn subscriptions(metrics: &Metrics) -> Subscriptions<Mongo> {
    let recorded = recorded().fold(Subscriptions::new(), |subscriptions, topic| {
        let metrics = metrics.clone();
        subscriptions.log(topic, move || Recorder {
            topic,
            metrics: metrics.clone(),
        })
    });
    recorded.handle(|| Answers)
}

/// The topics whose records are the log: state is not history, and may have to be erased.
pub fn recorded() -> impl Iterator<Item = &'static Topic> {
    topics::ALL.iter().copied().filter(|topic| topic.kind != Kind::State)
}
