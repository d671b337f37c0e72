//! The state that all workers of a process share.

use std::time::Duration;

use chassis::error_chain;
use contracts::{Codec, Registry, Timestamp, topics};
use tokio_util::sync::CancellationToken;

use crate::backoff::{Stopped, wait_or_stop};
use crate::kafka::Settings;
use crate::ledger::{Ledger, StoredSchema};
use crate::metrics::Metrics;
use crate::publishing::publisher::Publisher;
use crate::wire::envelope::Envelope;
use crate::wire::record::Record;

/// Maximum duration of an ops command. The transaction of a longer one is rolled back and repeated, so a handler that may
/// take long stops itself before.
pub const OPS_TIME_LIMIT: Duration = Duration::from_secs(10 * 60);

/// The state that all workers of a process share.
pub(crate) struct Runtime<L: Ledger> {
    pub(crate) service: &'static str,
    pub(crate) ledger: L,
    pub(crate) publisher: Publisher<L>,
    pub(crate) metrics: Metrics,
    pub(crate) registry: Option<Registry>,
    pub(crate) settings: Settings,
}

impl<L: Ledger> Runtime<L> {
    pub(crate) fn codec(&self) -> &Codec {
        self.publisher.codec()
    }

    /// Returns the maximum duration of a transaction on this topic. It is longer for ops commands, which may wait for long
    /// work: a rebuild, a verification.
    pub(crate) fn transaction_limit(&self, topic: &str) -> Duration {
        if topic == self.publisher.topic_name(&topics::OPS_COMMANDS) {
            OPS_TIME_LIMIT
        } else {
            self.settings.transaction_limit
        }
    }

    /// Returns `true` if a command is older than the inbox retention, so it may have been executed already.
    pub(crate) fn has_expired(&self, envelope: &Envelope) -> bool {
        Timestamp::now() - self.settings.inbox_retention > envelope.since()
    }

    /// Fetches the schema of a record and waits while the registry is unreachable. Returns `false` if the registry does
    /// not know the schema either, if the schema cannot be used, or if an operator has skipped the record meanwhile.
    pub(crate) async fn fetch_schema(
        &self,
        id: i32,
        record: &Record,
        stop: &CancellationToken,
    ) -> Result<bool, Stopped> {
        let mut back_off = Duration::from_millis(100);
        loop {
            match self.try_fetch_schema(id).await {
                Ok(is_known) => return Ok(is_known),
                Err(error) => {
                    tracing::warn!(id, error = error_chain(&error), "waiting for the schema registry");
                    wait_or_stop(&mut back_off, stop).await?;
                    if self.is_skipped(record).await {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Returns `true` if the stored position is behind the record. The worker's next attempt then finds its own position
    /// out of date, and drops the record.
    async fn is_skipped(&self, record: &Record) -> bool {
        match self.ledger.positions(std::slice::from_ref(&record.partition)).await {
            Ok(positions) => positions
                .get(&record.partition)
                .is_some_and(|next| *next > record.offset),
            Err(_) => false,
        }
    }

    /// Fetches a schema without waiting for an unreachable registry. Returns `false` as [`fetch_schema`](Self::fetch_schema)
    /// does.
    pub(crate) async fn try_fetch_schema(&self, id: i32) -> Result<bool, contracts::registry::Error> {
        let Some(registry) = &self.registry else {
            return Ok(false);
        };
        let schema = match registry.schema(id).await {
            Ok(schema) => schema,
            Err(contracts::registry::Error::NotFound { .. }) => return Ok(false),
            Err(error @ contracts::registry::Error::TooLarge { .. }) => {
                tracing::error!(id, error = error_chain(&error), "cannot use the registry's schema");
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if let Err(error) = self.codec().learn(id, &schema) {
            tracing::error!(id, error = error_chain(&error), "cannot use the registry's schema");
            return Ok(false);
        }
        let fetched = StoredSchema { id, schema };
        if let Err(error) = self.ledger.save_schemas(&[fetched]).await {
            // This process knows the schema; the next one fetches it from the registry again.
            tracing::warn!(id, error = error_chain(&error), "cannot store a schema");
        }
        Ok(true)
    }
}
