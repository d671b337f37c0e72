use contracts::ProcessStatusState;
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;

use super::{failed, newest};
use crate::store::processes::{delete, save};

/// Stores the newest status of every process. A process that ends publishes a tombstone.
pub struct Processes;

impl Handler<Postgres> for Processes {
    type Message = ProcessStatusState;

    async fn handle(
        &mut self,
        unit: &mut Unit<Postgres>,
        messages: &[&Received<ProcessStatusState>],
    ) -> Result<(), Failure> {
        let (statuses, ended) = newest(messages, |message| match &message.body {
            ProcessStatusState::ProcessStatus(status) => Some(status),
            ProcessStatusState::Tombstone => None,
        });
        let statuses: Vec<_> = statuses.into_iter().collect();
        save(unit.tx(), &statuses).await.map_err(failed)?;
        delete(unit.tx(), &ended).await.map_err(failed)
    }
}
