//! Dead letters: found, shown, sent again, dropped.

use chassis::error_chain;
use contracts::ops::{DiscardDeadLetter, FindDeadLetters, OpsCommand, RedriveDeadLetter, ShowDeadLetter};
use contracts::{Kind, Timestamp, codec, topics};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Ops, page_size, rejected};
use crate::consuming::handler::Failure;
use crate::consuming::ops_handler::OpsOutcome;
use crate::ledger::{DeadLetter, Ledger, OutboxMessage, StoredDeadLetter};
use crate::publishing::unit::Unit;
use crate::wire::envelope::{Envelope, header};
use crate::wire::message::Received;
use crate::wire::record::Headers;
use crate::wire::trace;

/// Value and headers of what is sent again, at most: below the broker's `message.max.bytes` by what frames them. What
/// could not be published must never commit.
const MAX_RECORD_BYTES: usize = 1_000 * 1024;

impl<L: Ledger> Ops<L> {
    pub(super) async fn find_dead_letters(
        &self,
        unit: &mut Unit<L>,
        command: &FindDeadLetters,
    ) -> Result<OpsOutcome, Failure> {
        let before = match command.cursor.as_deref().map(str::parse::<Uuid>) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => return Ok(rejected("cursor-invalid", "the cursor is none of an earlier page")),
        };
        let limit = page_size(command.limit);
        let (ledger, tx) = unit.parts();
        let letters = ledger.list_dead_letters(tx, before, limit).await?;
        let is_full = letters.len() as i64 == limit;
        let cursor = letters.last().filter(|_| is_full).map(|last| last.dead_letter.id);
        let letters: Vec<_> = letters.iter().map(|kept| self.summary(kept)).collect();
        Ok(OpsOutcome::Done(json!({ "dead_letters": letters, "cursor": cursor })))
    }

    /// What may be told of any dead letter.
    pub(super) fn summary(&self, kept: &StoredDeadLetter) -> Value {
        let DeadLetter {
            id,
            reason,
            detail,
            record,
        } = &kept.dead_letter;
        json!({
            "id": id,
            "reason": reason,
            "detail": detail,
            "topic": self.runtime.publisher.without_prefix(&record.partition.topic),
            "partition": record.partition.partition,
            "offset": record.offset,
            "message_id": record.headers.get(header::ID),
            "message_type": record.headers.get(header::TYPE),
            "dead_lettered_at": made_at(*id).map(|time| time.to_string()),
            "redriven_as": kept.redriven_as,
        })
    }

    pub(super) async fn show_dead_letter(
        &self,
        unit: &mut Unit<L>,
        command: &ShowDeadLetter,
    ) -> Result<OpsOutcome, Failure> {
        let (ledger, tx) = unit.parts();
        let Some(kept) = ledger.dead_letter(tx, command.dead_letter_id).await? else {
            return Ok(unknown());
        };
        let record = &kept.dead_letter.record;
        let mut shown = self.summary(&kept);
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        shown["key"] = json!(key.and_then(|key| Uuid::try_parse(key).ok()));
        shown["bytes"] = json!(record.value.as_ref().map(bytes::Bytes::len));
        let headers = record.headers.0.iter();
        let headers: Map<_, _> = headers.map(|(name, text)| (name.clone(), json!(text))).collect();
        shown["headers"] = headers.into();
        shown["content"] = self.content(record.value.as_deref()).await;
        Ok(OpsOutcome::Done(shown))
    }

    /// A value as JSON without its personal fields; null where it can't be read: its bytes are shown to nobody.
    async fn content(&self, value: Option<&[u8]>) -> Value {
        let Some(value) = value else {
            return Value::Null;
        };
        let codec = self.runtime.codec();
        let mut content = codec.to_json_without_personal(value);
        if let Err(codec::Error::UnknownSchema(id)) = content {
            // All other operations wait behind this one: not for a registry that is down.
            match self.runtime.try_fetch_schema(id).await {
                Ok(_) => content = codec.to_json_without_personal(value),
                Err(error) => tracing::warn!(
                    id,
                    error = error_chain(&error),
                    "the schema of a dead letter is not known"
                ),
            }
        }
        content.map_or(Value::Null, |(_, content)| content)
    }

    /// Says a dead command again, as a new one: its old id is in the inbox, and stays there. Whoever waits for the old
    /// one's reply has had it.
    ///
    /// Only commands: to say somebody else's fact or state again is not a reader's to do, and would reach all readers.
    pub(super) async fn redrive(
        &self,
        unit: &mut Unit<L>,
        message: &Received<OpsCommand>,
        command: &RedriveDeadLetter,
    ) -> Result<OpsOutcome, Failure> {
        let (ledger, tx) = unit.parts();
        let Some(kept) = ledger.dead_letter(tx, command.dead_letter_id).await? else {
            return Ok(unknown());
        };
        if let Some(command) = kept.redriven_as {
            return Ok(rejected("already-redriven", format!("it was sent again as {command}")));
        }
        let DeadLetter { id, record, .. } = kept.dead_letter;
        let topic = self.runtime.publisher.without_prefix(&record.partition.topic);
        if topics::by_name(topic).is_none_or(|topic| topic.kind != Kind::Commands) {
            return Ok(rejected(
                "not-a-command",
                format!("{topic} holds no commands, and only those are sent again"),
            ));
        }
        let Ok(envelope) = Envelope::of(&record) else {
            return Ok(rejected(
                "no-envelope",
                "it has no envelope that a new command could be made of",
            ));
        };
        let again = OutboxMessage {
            key: envelope.key,
            headers: self.headers_of_a_new_command(message, &envelope, record.headers, &record.partition.topic),
            topic: record.partition.topic,
            value: record.value,
            due_at: None,
        };
        if bytes(&again) > MAX_RECORD_BYTES {
            let detail = "with the headers of a new command it is larger than the broker takes";
            return Ok(rejected("too-large", detail));
        }
        let new = again
            .headers
            .get(header::ID)
            .and_then(|id| id.parse().ok())
            .unwrap_or_default();
        ledger.mark_redriven(tx, id, new).await?;
        unit.append(again);
        tracing::info!(dead_letter = %id, command = %new, "a dead letter is sent again");
        Ok(OpsOutcome::Done(json!({ "command_id": new })))
    }

    fn headers_of_a_new_command(
        &self,
        operation: &Received<OpsCommand>,
        dead: &Envelope,
        mut headers: Headers,
        topic: &str,
    ) -> Headers {
        let id = Uuid::now_v7();
        let (trace_parent, trace_state) = trace::created(&operation.cause(), topic, id, None);
        let replaced = [
            header::ATTEMPT,
            header::DUE_AT,
            header::TRACE_PARENT,
            header::TRACE_STATE,
        ];
        headers.0.retain(|(name, _)| !replaced.contains(&name.as_str()));
        headers.set(header::ID, id.to_string());
        headers.set(header::SOURCE, self.runtime.publisher.source());
        headers.set(header::TIME, Timestamp::now().to_string());
        headers.set(header::CAUSATION_ID, dead.id.to_string());
        let trace = [(header::TRACE_PARENT, trace_parent), (header::TRACE_STATE, trace_state)];
        for (name, text) in trace.into_iter().filter_map(|(name, text)| Some((name, text?))) {
            headers.set(name, text);
        }
        headers
    }

    pub(super) async fn discard(&self, unit: &mut Unit<L>, command: &DiscardDeadLetter) -> Result<OpsOutcome, Failure> {
        let (ledger, tx) = unit.parts();
        if !ledger.discard_dead_letter(tx, command.dead_letter_id).await? {
            return Ok(unknown());
        }
        tracing::info!(dead_letter = %command.dead_letter_id, "a dead letter is dropped");
        Ok(OpsOutcome::Done(json!({ "discarded": command.dead_letter_id })))
    }
}

fn bytes(message: &OutboxMessage) -> usize {
    let headers = message.headers.0.iter().map(|(name, text)| name.len() + text.len());
    message.value.as_ref().map_or(0, bytes::Bytes::len) + headers.sum::<usize>()
}

fn unknown() -> OpsOutcome {
    rejected("dead-letter-unknown", "there is no such dead letter at this service")
}

/// When an id of version 7 was made.
fn made_at(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()? * 1_000_000 + i64::from(nanos / 1_000);
    Timestamp::from_micros(micros).ok()
}
