use std::collections::HashMap;

use contracts::{ProcessStatus, ProcessStatusState};
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;
use uuid::Uuid;

use super::failed;
use crate::store::processes::save;

/// Keeps the newest report of every process.
pub struct Processes;

impl Handler<Postgres> for Processes {
    type Message = ProcessStatusState;

    async fn handle(
        &mut self,
        unit: &mut Unit<Postgres>,
        messages: &[&Received<ProcessStatusState>],
    ) -> Result<(), Failure> {
        let mut reports: HashMap<Uuid, &ProcessStatus> = HashMap::new();
        for message in messages {
            let ProcessStatusState::ProcessStatus(status) = &message.body;
            reports.insert(message.envelope.key, status);
        }
        let reports: Vec<_> = reports.into_iter().collect();
        save(unit.tx(), &reports).await.map_err(failed)
    }
}
