//! The state that all lanes of a process share.

use std::time::Duration;

use chassis::error_chain;
use contracts::{Codec, Registry, Timestamp, topics};

use crate::backoff::LONGEST;
use crate::kafka::Settings;
use crate::ledger::{Ledger, StoredSchema};
use crate::metrics::Metrics;
use crate::publishing::publisher::Publisher;
use crate::wire::envelope::Envelope;
use crate::wire::record::TopicPartition;

/// Maximum duration of an ops command. The transaction of a longer one is rolled back and repeated, so a handler that may
/// take long stops itself before.
pub const OPS_TIME_LIMIT: Duration = Duration::from_secs(10 * 60);

/// The state that all lanes of a process share.
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

    /// Returns the maximum duration of a transaction on this topic, which is named with its prefix. It is longer for ops commands, which may wait for long
    /// work: a rebuild, a verification.
    pub(crate) fn transaction_limit(&self, topic: &str) -> Duration {
        if self.publisher.without_prefix(topic) == topics::OPS_COMMANDS.name {
            OPS_TIME_LIMIT
        } else {
            self.settings.transaction_limit
        }
    }

    /// Returns `true` if a command is older than the inbox retention, so it may have been executed already.
    pub(crate) fn has_expired(&self, envelope: &Envelope) -> bool {
        Timestamp::now() - self.settings.inbox_retention > envelope.since()
    }

    /// Fetches the schema of a record, however long the registry is unreachable. Returns `false` if the registry does not
    /// know the schema either, if the schema cannot be used, or if an operator has skipped the record meanwhile.
    pub(crate) async fn fetch_schema(&self, id: i32, partition: &TopicPartition, offset: i64) -> bool {
        let mut back_off = Duration::from_millis(100);
        loop {
            match self.try_fetch_schema(id).await {
                Ok(is_known) => return is_known,
                Err(error) => {
                    tracing::warn!(id, %partition, error = error_chain(&error), "waiting for the schema registry");
                    tokio::time::sleep(back_off).await;
                    back_off = (back_off * 2).min(LONGEST);
                    if self.is_skipped(partition, offset).await {
                        return false;
                    }
                }
            }
        }
    }

    /// Returns `true` if the stored position is behind the record. The lane's next attempt then finds its own position out
    /// of date, and drops the record.
    async fn is_skipped(&self, partition: &TopicPartition, offset: i64) -> bool {
        match self.ledger.positions(std::slice::from_ref(partition)).await {
            Ok(positions) => positions.get(partition).is_some_and(|next| *next > offset),
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
