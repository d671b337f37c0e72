//! Readiness: whether the store and Kafka answer.

use std::time::Duration;

use chassis::Health;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio_util::sync::CancellationToken;

use crate::kafka::Settings;
use crate::ledger::Ledger;
use crate::worker::chain;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(2);

/// Looks every second whether what the process depends on is there, and says so in its health. The
/// schema registry is not among it: nobody who has run before needs it.
pub(crate) async fn run<L: Ledger>(ledger: L, settings: Settings, health: Health, stop: CancellationToken) {
    let store = health.check("store");
    let kafka = health.check("kafka");
    let client: Option<std::sync::Arc<BaseConsumer>> = settings.client().create().ok().map(std::sync::Arc::new);
    loop {
        match tokio::time::timeout(TIMEOUT, ledger.ping()).await {
            Ok(Ok(())) => store.up(),
            Ok(Err(error)) => store.down(chain(&error)),
            Err(_) => store.down("no answer in time"),
        }
        if let Some(client) = client.clone() {
            let topic = contracts::topics::OPS_STATUS.full_name(&settings.topic_prefix);
            let answer =
                tokio::task::spawn_blocking(move || client.fetch_metadata(Some(&topic), TIMEOUT).map(drop)).await;
            match answer {
                Ok(Ok(())) => kafka.up(),
                Ok(Err(error)) => kafka.down(error.to_string()),
                Err(error) => kafka.down(error.to_string()),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}
