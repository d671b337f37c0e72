use std::collections::HashMap;

use contracts::{ProcessStatus, ProcessStatusState};
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;
use uuid::Uuid;

use super::failed;
use crate::store::processes::{delete, save};

/// Keeps the newest report of every process. One that has ended says a tombstone.
pub struct Processes;

impl Handler<Postgres> for Processes {
    type Message = ProcessStatusState;

    async fn handle(
        &mut self,
        unit: &mut Unit<Postgres>,
        messages: &[&Received<ProcessStatusState>],
    ) -> Result<(), Failure> {
        let mut newest: HashMap<Uuid, Option<&ProcessStatus>> = HashMap::new();
        for message in messages {
            let report = match &message.body {
                ProcessStatusState::ProcessStatus(status) => Some(status),
                ProcessStatusState::Tombstone => None,
            };
            newest.insert(message.envelope.key, report);
        }
        let gone: Vec<Uuid> = newest
            .iter()
            .filter(|(_, report)| report.is_none())
            .map(|(id, _)| *id)
            .collect();
        let reports: Vec<_> = newest
            .into_iter()
            .filter_map(|(id, report)| Some((id, report?)))
            .collect();
        save(unit.tx(), &reports).await.map_err(failed)?;
        delete(unit.tx(), &gone).await.map_err(failed)
    }
}
