//! The processes that report on `ops.status`.

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::{ProcessStatus, ProcessStatusState, Timestamp, topics};
use messaging::header;
use uuid::Uuid;

use crate::Error;
use crate::kafka::{Kafka, Reader};
use crate::schemas::{RegistryArguments, Schemas};

/// A process reports every three seconds. One that has missed three reports is stopped, stuck or disconnected.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// Addresses of Kafka, which has the reports, and of the schema registry, which decodes them.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Sources {
    #[command(flatten)]
    pub(crate) kafka: Kafka,
    #[command(flatten)]
    pub(crate) registry: RegistryArguments,
}

/// The newest report of each process.
pub(crate) struct Processes {
    reader: Reader,
    schemas: Schemas,
    newest: BTreeMap<Uuid, ProcessStatus>,
}

impl Processes {
    /// Opens the topic without reading reports; [`refresh`](Self::refresh) reads them.
    pub(crate) fn open(sources: &Sources) -> Result<Self, Error> {
        Ok(Self {
            reader: Reader::from_start(&sources.kafka, &topics::OPS_STATUS)?,
            schemas: Schemas::of(&sources.registry),
            newest: BTreeMap::new(),
        })
    }

    pub(crate) async fn read(sources: &Sources) -> Result<Self, Error> {
        let mut processes = Self::open(sources)?;
        processes.refresh().await?;
        Ok(processes)
    }

    /// Reads the reports that were published since the last call.
    pub(crate) async fn refresh(&mut self) -> Result<(), Error> {
        for record in self.reader.catch_up()? {
            let Some(value) = record.value else {
                let process = record
                    .key
                    .and_then(|key| Uuid::try_parse(str::from_utf8(&key).ok()?).ok());
                process.map(|process| self.newest.remove(&process));
                continue;
            };
            let type_name = record.headers.get(header::TYPE).unwrap_or_default();
            match self.schemas.decode::<ProcessStatusState>(type_name, &value).await? {
                Some(ProcessStatusState::ProcessStatus(status)) => self.take(status),
                Some(ProcessStatusState::Tombstone) => {}
                None => eprintln!(
                    "rollcall: skipping {}, offset {}: this version cannot read it as a process status",
                    record.partition, record.offset
                ),
            }
        }
        Ok(())
    }

    fn take(&mut self, status: ProcessStatus) {
        // The newest report wins, because relays may publish duplicates and out of order.
        match self.newest.get(&status.instance) {
            Some(known) if known.reported_at >= status.reported_at => {}
            Some(_) | None => {
                self.newest.insert(status.instance, status);
            }
        }
    }

    /// Returns all processes, sorted by service and then by start time, because process ids are UUIDv7.
    pub(crate) fn all(&self) -> Vec<&ProcessStatus> {
        let mut all: Vec<_> = self.newest.values().collect();
        all.sort_by_key(|status| (&status.service, status.instance));
        all
    }
}

/// Returns the sum of lags. A process may report any numbers: a negative one counts as 0, and a sum that is too large as
/// the maximum.
pub(crate) fn total_lag(lags: impl Iterator<Item = i64>) -> i64 {
    lags.fold(0, |total: i64, lag| total.saturating_add(lag.max(0)))
}

/// Returns `true` if the process still reports.
pub(crate) fn is_live(status: &ProcessStatus, now: Timestamp) -> bool {
    now.since(status.reported_at) < STALE_AFTER
}
