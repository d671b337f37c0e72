//! Boot checks: a process refuses to start if the delivery guarantee cannot be met.

use std::time::Duration;

use chassis::error_chain;
use contracts::{Codec, Kind, Registry, Topic, topics};

use crate::kafka::Settings;
use crate::ledger::{Ledger, StoreError, StoredSchema};
use crate::topics::differences;

/// Time by which the inbox retention must exceed the longest life of a record.
const INBOX_MARGIN: Duration = Duration::from_secs(24 * 60 * 60);

/// The reason why a process does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the delivery guarantee cannot be met:\n- {}", .0.join("\n- "))]
    Rules(Vec<String>),
    #[error("the metrics cannot be registered")]
    Metrics(#[source] prometheus::Error),
    #[error("the topics in Kafka cannot be checked")]
    Kafka(#[from] crate::topics::Error),
    #[error("the store of the service is unreachable")]
    Store(#[source] StoreError),
    #[error(
        "the schema ids are unknown: the registry at {url} is not available, and no earlier run of this service has stored them"
    )]
    Registry {
        url: String,
        #[source]
        source: contracts::registry::Error,
    },
    #[error(
        "the schemas of the registry and of this process differ; `rollcall schemas register` compares and registers them"
    )]
    Schemas(#[source] contracts::registry::Error),
    #[error("the relay cannot start")]
    Relay(#[source] crate::publishing::relay::Error),
    #[error("the schemas cannot be used")]
    Codec(#[from] contracts::codec::Error),
}

/// Checks all rules that can be checked before work begins.
///
/// # Errors
/// Returns all violations together.
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
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::Rules(problems))
    }
}

fn settings_problems(settings: &Settings, subscribed: &[&'static Topic]) -> Vec<String> {
    let mut problems = Vec::new();
    if settings.lease <= settings.delivery_timeout {
        problems.push(format!(
            "RELAY_LEASE_MS ({}) must be greater than DELIVERY_TIMEOUT_MS ({}), because otherwise rows are adopted while they are in flight",
            settings.lease.as_millis(),
            settings.delivery_timeout.as_millis()
        ));
    }
    for topic in subscribed {
        let is_in_inbox = matches!(topic.kind, Kind::Commands | Kind::Replies | Kind::Facts);
        let Some(life) = topic.longest_life().filter(|_| is_in_inbox) else {
            continue;
        };
        let needed = life + INBOX_MARGIN;
        if settings.inbox_retention < needed {
            problems.push(format!(
                "INBOX_RETENTION_HOURS ({}) must be at least {}: the longest life of records of {}, and a margin",
                settings.inbox_retention.as_secs() / 3600,
                needed.as_secs().div_ceil(3600),
                topic.name
            ));
        }
    }
    problems
}

/// Returns a codec with the schema ids of the registry. If the registry is not available, uses the ids that an earlier run
/// stored.
///
/// Only a registry that returns other schemas stops a service that has run before. A registry that is unreachable, responds
/// too late, fails, or responds with something else is not available.
pub(crate) async fn codec<L: Ledger>(registry: &Registry, url: &str, ledger: &L) -> Result<Codec, Error> {
    let stored = ledger.schemas().await.map_err(Error::Store)?;
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
        Err(error @ contracts::registry::Error::NotRegistered(_)) => return Err(Error::Schemas(error)),
        Err(error) => {
            let ids: Vec<_> = records()
                .filter_map(|(name, schema)| {
                    let stored = stored.iter().find(|stored| stored.schema == schema)?;
                    Some((name, stored.id))
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
                "the schema registry is not available; using the schema ids of the last run"
            );
            ids
        }
    };
    let codec = Codec::with_ids(ids)?;
    for schema in stored {
        if let Err(error) = codec.learn(schema.id, &schema.schema) {
            tracing::warn!(
                id = schema.id,
                error = error_chain(&error),
                "cannot use a stored schema"
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
    fn the_defaults_violate_no_rule() {
        assert_eq!(
            settings_problems(&Settings::new("localhost:9092"), topics::ALL),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_lease_within_the_delivery_timeout_is_reported() {
        let mut settings = Settings::new("localhost:9092");
        settings.lease = settings.delivery_timeout;
        let problems = settings_problems(&settings, &[]);
        assert!(problems[0].contains("RELAY_LEASE_MS"), "{problems:?}");
    }

    #[test]
    fn an_inbox_retention_that_is_too_short_is_reported() {
        let mut settings = Settings::new("localhost:9092");
        settings.inbox_retention = Duration::from_secs(7 * 24 * 60 * 60);
        let topics_with_inbox = [
            &topics::USERS_COMMANDS,
            &topics::NOTIFICATIONS_COMMANDS,
            &topics::NOTIFICATIONS,
            &topics::GATEWAY_SECURITY,
            &topics::AUDIT,
            &topics::AUDIT_QUERIES,
            &topics::OPS_COMMANDS,
        ];
        for topic in topics_with_inbox {
            let problems = settings_problems(&settings, &[topic]);
            assert_eq!(problems.len(), 1, "{}", topic.name);
            assert!(problems[0].contains("INBOX_RETENTION_HOURS"), "{problems:?}");
            assert!(problems[0].contains(topic.name), "{problems:?}");
        }
    }
}
