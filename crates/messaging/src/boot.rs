//! Boot checks: a process refuses to start where the promise of delivery can't hold.

use std::time::Duration;

use chassis::error_chain;
use contracts::{Codec, Kind, Registry, Topic, topics};

use crate::kafka::Settings;
use crate::ledger::{Ledger, StoreError, StoredSchema};
use crate::topics::differences;

/// What the inbox remembers beyond the longest life of a record.
const INBOX_MARGIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the promise of delivery can't hold:\n- {}", .0.join("\n- "))]
    Rules(Vec<String>),
    #[error("the metrics cannot be registered")]
    Metrics(#[source] prometheus::Error),
    #[error("Kafka was not checked")]
    Kafka(#[from] crate::topics::Error),
    #[error("the service's store does not answer")]
    Store(#[source] StoreError),
    #[error("the schemas are not known: the registry at {url} does not answer, and this service has not run before")]
    Registry {
        url: String,
        #[source]
        source: contracts::registry::Error,
    },
    #[error(
        "the schemas of the registry and of this process differ; `rollcall schemas register` compares and registers"
    )]
    Schemas(#[source] contracts::registry::Error),
    #[error("the relay can't start")]
    Relay(#[source] crate::publishing::relay::Error),
    #[error("the schemas can't be used")]
    Codec(#[from] contracts::codec::Error),
}

/// Every rule that can be looked at before work begins. Says all that is wrong at once.
pub(crate) async fn check<L: Ledger>(
    settings: &Settings,
    ledger: &L,
    subscribed: &[&'static Topic],
) -> Result<(), Error> {
    let mut problems = settings_problems(settings, subscribed);
    problems.extend(ledger.boot_problems().await.map_err(Error::Store)?);
    problems.extend(
        differences(settings, topics::ALL)
            .await?
            .iter()
            .map(ToString::to_string),
    );
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::Rules(problems)),
    }
}

fn settings_problems(settings: &Settings, subscribed: &[&'static Topic]) -> Vec<String> {
    let mut problems = Vec::new();
    if settings.lease <= settings.delivery_timeout {
        problems.push(format!(
            "RELAY_LEASE_MS ({}) must be longer than DELIVERY_TIMEOUT_MS ({}): otherwise rows are adopted while they are on their way",
            settings.lease.as_millis(),
            settings.delivery_timeout.as_millis()
        ));
    }
    for topic in subscribed {
        let remembered = matches!(topic.kind, Kind::Commands | Kind::Replies | Kind::Facts);
        let Some(life) = topic.longest_life().filter(|_| remembered) else {
            continue;
        };
        let needed = life + INBOX_MARGIN;
        if settings.inbox_retention < needed {
            problems.push(format!(
                "INBOX_RETENTION_HOURS ({}) must be at least {}: records of {} live that long, and a margin",
                settings.inbox_retention.as_secs() / 3600,
                needed.as_secs().div_ceil(3600),
                topic.name
            ));
        }
    }
    problems
}

/// The codec with the registry's ids; with the ids kept from an earlier run where the registry is down.
pub(crate) async fn codec<L: Ledger>(registry: &Registry, url: &str, ledger: &L) -> Result<Codec, Error> {
    let kept = ledger.schemas().await.map_err(Error::Store)?;
    let ids = match registry.lookup_all(topics::ALL, "").await {
        Ok(ids) => {
            let found: Vec<_> = records()
                .filter_map(|(name, schema)| {
                    let (_, id) = ids.iter().find(|(known, _)| *known == name)?;
                    Some(StoredSchema {
                        id: *id,
                        schema: schema.to_owned(),
                    })
                })
                .collect();
            ledger.save_schemas(&found).await.map_err(Error::Store)?;
            ids
        }
        Err(error @ contracts::registry::Error::Unreachable { .. }) => {
            let ids: Vec<_> = records()
                .filter_map(|(name, schema)| {
                    let kept = kept.iter().find(|kept| kept.schema == schema)?;
                    Some((name, kept.id))
                })
                .collect();
            if ids.len() < records().count() {
                return Err(Error::Registry {
                    url: url.to_owned(),
                    source: error,
                });
            }
            tracing::warn!(
                error = error_chain(&error),
                "the schema registry is down; going on with the ids of the last run"
            );
            ids
        }
        Err(error) => return Err(Error::Schemas(error)),
    };
    let codec = Codec::with_ids(ids)?;
    for schema in kept {
        if let Err(error) = codec.learn(schema.id, &schema.schema) {
            tracing::warn!(
                id = schema.id,
                error = error_chain(&error),
                "a kept schema can't be used"
            );
        }
    }
    Ok(codec)
}

fn records() -> impl Iterator<Item = (&'static str, &'static str)> {
    topics::ALL
        .iter()
        .flat_map(|topic| topic.records)
        .map(|record| (record.name, record.schema))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_keep_the_promise() {
        assert_eq!(
            settings_problems(&Settings::new("localhost:9092"), topics::ALL),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_lease_within_the_delivery_timeout_is_named() {
        let mut settings = Settings::new("localhost:9092");
        settings.lease = settings.delivery_timeout;
        let problems = settings_problems(&settings, &[]);
        assert!(problems[0].contains("RELAY_LEASE_MS"), "{problems:?}");
    }

    #[test]
    fn an_inbox_that_forgets_too_early_is_named() {
        let mut settings = Settings::new("localhost:9092");
        settings.inbox_retention = Duration::from_secs(7 * 24 * 60 * 60);
        let remembered = [
            &topics::USERS_COMMANDS,
            &topics::NOTIFICATIONS_COMMANDS,
            &topics::NOTIFICATIONS,
            &topics::GATEWAY_SECURITY,
            &topics::AUDIT,
            &topics::AUDIT_QUERIES,
            &topics::OPS_COMMANDS,
        ];
        for topic in remembered {
            let problems = settings_problems(&settings, &[topic]);
            assert_eq!(problems.len(), 1, "{}", topic.name);
            assert!(problems[0].contains("INBOX_RETENTION_HOURS"), "{problems:?}");
            assert!(problems[0].contains(topic.name), "{problems:?}");
        }
    }
}
