//! The processes that report on `ops.status`.

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::{ProcessStatus, ProcessStatusState, Timestamp, topics};
use messaging::header;
use uuid::Uuid;

use crate::Error;
use crate::kafka::{Kafka, Reader};
use crate::schemas::{RegistryArguments, Schemas};

/// A process reports every three seconds: one that missed three reports is stopped, stuck or cut off.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// Where reports are, and what reads them.
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
    /// Has read nothing yet: [`refresh`](Self::refresh) does.
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

    /// Takes in what was reported since.
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
                    "rollcall: {}, offset {}, is no status that this version can read; it is left out",
                    record.partition, record.offset
                ),
            }
        }
        Ok(())
    }

    fn take(&mut self, status: ProcessStatus) {
        // Relays may publish twice and out of order: the newest wins.
        match self.newest.get(&status.instance) {
            Some(known) if known.reported_at >= status.reported_at => {}
            Some(_) | None => {
                self.newest.insert(status.instance, status);
            }
        }
    }

    /// By service, then by age: process ids are UUIDv7.
    pub(crate) fn all(&self) -> Vec<&ProcessStatus> {
        let mut all: Vec<_> = self.newest.values().collect();
        all.sort_by_key(|status| (&status.service, status.instance));
        all
    }
}

/// Whether the process still reports.
pub(crate) fn is_live(status: &ProcessStatus, now: Timestamp) -> bool {
    now.since(status.reported_at) < STALE_AFTER
}
