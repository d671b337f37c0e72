//! Reports what this service knows of a message.

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
        let (delayed, outbox): (Vec<_>, Vec<_>) = found.outbox.iter().partition(|message| message.due_at.is_some());
        let entries = |messages: Vec<&OutboxMessage>| -> Vec<_> {
            messages.into_iter().map(|message| self.outbox_entry(message)).collect()
        };
        let applied = found.applied.iter().map(|(topic, key, sequence)| {
            json!({ "topic": self.runtime.publisher.without_prefix(topic), "key": key, "sequence": sequence })
        });
        let letters = found.dead_letters.iter().map(|kept| self.summary(kept));
        let mut result = Map::new();
        result.insert("outbox".to_owned(), entries(outbox).into());
        result.insert("delayed".to_owned(), entries(delayed).into());
        result.insert("inbox".to_owned(), json!(found.inbox));
        result.insert("applied".to_owned(), applied.collect());
        result.insert(
            "parked".to_owned(),
            found.parked.iter().map(|row| self.parked_entry(row)).collect(),
        );
        result.insert("dead_letters".to_owned(), letters.collect());
        for handler in &self.subscriptions.ops_handlers {
            if let OpsOutcome::Done(Value::Object(more)) = handler.handle(unit, message).await? {
                result.extend(more);
            }
        }
        Ok(OpsOutcome::Done(result.into()))
    }

    fn outbox_entry(&self, message: &OutboxMessage) -> Value {
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

    fn parked_entry(&self, row: &Parked) -> Value {
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
