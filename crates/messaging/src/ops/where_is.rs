//! What became of a message at this service.

use contracts::ops::{OpsCommand, WhereIs};
use serde_json::{Map, Value, json};

use super::Ops;
use crate::consuming::handler::Failure;
use crate::consuming::ops_handler::OpsOutcome;
use crate::ledger::{Ledger, OutboxMessage, Parked};
use crate::publishing::unit::Unit;
use crate::wire::envelope::header;
use crate::wire::message::Received;

impl<L: Ledger> Ops<L> {
    pub(super) async fn where_is(
        &self,
        unit: &mut Unit<L>,
        message: &Received<OpsCommand>,
        command: &WhereIs,
    ) -> Result<OpsOutcome, Failure> {
        let (ledger, tx) = unit.parts();
        let found = ledger.find_message(tx, command.message_id).await?;
        let (delayed, outbox): (Vec<_>, Vec<_>) = found.outbox.iter().partition(|said| said.due_at.is_some());
        let said = |messages: Vec<&OutboxMessage>| -> Vec<_> {
            messages.into_iter().map(|message| self.said(message)).collect()
        };
        let applied = found.applied.iter().map(|(topic, key, sequence)| {
            json!({ "topic": self.runtime.publisher.without_prefix(topic), "key": key, "sequence": sequence })
        });
        let letters = found.dead_letters.iter().map(|kept| self.summary(kept));
        let mut answer = Map::new();
        answer.insert("outbox".to_owned(), said(outbox).into());
        answer.insert("delayed".to_owned(), said(delayed).into());
        answer.insert("inbox".to_owned(), json!(found.inbox));
        answer.insert("applied".to_owned(), applied.collect());
        answer.insert(
            "parked".to_owned(),
            found.parked.iter().map(|row| self.waiting(row)).collect(),
        );
        answer.insert("dead_letters".to_owned(), letters.collect());
        for handler in &self.subscriptions.ops_handlers {
            if let OpsOutcome::Done(Value::Object(more)) = handler.handle(unit, message).await? {
                answer.extend(more);
            }
        }
        Ok(OpsOutcome::Done(answer.into()))
    }

    fn said(&self, message: &OutboxMessage) -> Value {
        json!({
            "topic": self.runtime.publisher.without_prefix(&message.topic),
            "key": message.key,
            "message_id": message.headers.get(header::ID),
            "message_type": message.headers.get(header::TYPE),
            "sequence": message.headers.get(header::SEQUENCE).and_then(|number| number.parse::<i64>().ok()),
            "attempt": message.headers.get(header::ATTEMPT).and_then(|number| number.parse::<i32>().ok()),
            "due_at": message.due_at.map(|time| time.to_string()),
        })
    }

    fn waiting(&self, row: &Parked) -> Value {
        json!({
            "topic": self.runtime.publisher.without_prefix(&row.record.partition.topic),
            "key": row.key,
            "sequence": row.sequence,
            "message_id": row.id,
            "message_type": row.record.headers.get(header::TYPE),
            "error": Some(&row.error).filter(|error| !error.is_empty()),
        })
    }
}
