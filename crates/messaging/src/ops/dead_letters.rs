//! Lists, shows, redrives and discards dead letters.

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

/// Maximum size of the value and the headers of a redriven command, in bytes.
///
/// It is below the broker's `message.max.bytes` by the size of the record's framing, because a message that cannot be
/// published must never commit.
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
            Some(Err(_)) => {
                return Ok(rejected(
                    "cursor-invalid",
                    "the cursor is not the cursor of an earlier page",
                ));
            }
        };
        let limit = page_size(command.limit);
        let (ledger, tx) = unit.parts();
        let dead_letters = ledger.list_dead_letters(tx, before, limit).await?;
        let is_full = dead_letters.len() as i64 == limit;
        let cursor = dead_letters.last().filter(|_| is_full).map(|last| last.dead_letter.id);
        let dead_letters: Vec<_> = dead_letters.iter().map(|kept| self.summary(kept)).collect();
        Ok(OpsOutcome::Done(
            json!({ "dead_letters": dead_letters, "cursor": cursor }),
        ))
    }

    /// Returns what may be shown of any dead letter.
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
            "dead_lettered_at": created_at(*id).map(|time| time.to_string()),
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
            return Ok(dead_letter_unknown());
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

    /// Returns a value as JSON without its personal fields, or null if it cannot be decoded, because its bytes are never
    /// shown.
    async fn content(&self, value: Option<&[u8]>) -> Value {
        let Some(value) = value else {
            return Value::Null;
        };
        let codec = self.runtime.codec();
        let mut content = codec.to_json_without_personal(value);
        if let Err(codec::Error::UnknownSchema(id)) = content {
            // All later ops commands wait for this one, so it must not wait for an unreachable registry.
            match self.runtime.try_fetch_schema(id).await {
                Ok(_) => content = codec.to_json_without_personal(value),
                Err(error) => tracing::warn!(
                    id,
                    error = error_chain(&error),
                    "the schema of a dead letter is unknown"
                ),
            }
        }
        content.map_or(Value::Null, |(_, content)| content)
    }

    /// Publishes a dead command again as a new command, because the old id stays in the inbox. The sender of the old command
    /// already has its reply.
    ///
    /// Only commands can be redriven, because a fact or state message of another service would reach all of its consumers.
    pub(super) async fn redrive(
        &self,
        unit: &mut Unit<L>,
        message: &Received<OpsCommand>,
        command: &RedriveDeadLetter,
    ) -> Result<OpsOutcome, Failure> {
        let (ledger, tx) = unit.parts();
        let Some(kept) = ledger.dead_letter(tx, command.dead_letter_id).await? else {
            return Ok(dead_letter_unknown());
        };
        if let Some(command) = kept.redriven_as {
            return Ok(rejected(
                "already-redriven",
                format!("the dead letter was already redriven as {command}"),
            ));
        }
        let DeadLetter { id, record, .. } = kept.dead_letter;
        let topic = self.runtime.publisher.without_prefix(&record.partition.topic);
        if topics::by_name(topic).is_none_or(|topic| topic.kind != Kind::Commands) {
            return Ok(rejected(
                "not-a-command",
                format!("{topic} does not contain commands, and only commands can be redriven"),
            ));
        }
        let Ok(envelope) = Envelope::of(&record) else {
            return Ok(rejected(
                "no-envelope",
                "the dead letter has no envelope from which a new command could be created",
            ));
        };
        let again = OutboxMessage {
            key: envelope.key,
            headers: self.headers_of_a_new_command(message, &envelope, record.headers, &record.partition.topic),
            topic: record.partition.topic,
            value: record.value,
            due_at: None,
        };
        if size_of(&again) > MAX_RECORD_BYTES {
            let detail = "with the headers of a new command, the record exceeds the maximum size of the broker";
            return Ok(rejected("too-large", detail));
        }
        let new = again
            .headers
            .get(header::ID)
            .and_then(|id| id.parse().ok())
            .unwrap_or_default();
        ledger.mark_redriven(tx, id, new).await?;
        unit.append(again);
        tracing::info!(dead_letter = %id, command = %new, "a dead letter was redriven as a new command");
        Ok(OpsOutcome::Done(json!({ "command_id": new })))
    }

    fn headers_of_a_new_command(
        &self,
        ops_command: &Received<OpsCommand>,
        dead: &Envelope,
        mut headers: Headers,
        topic: &str,
    ) -> Headers {
        let id = Uuid::now_v7();
        let (trace_parent, trace_state) = trace::created(&ops_command.cause(), topic, id, None);
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
            return Ok(dead_letter_unknown());
        }
        tracing::info!(dead_letter = %command.dead_letter_id, "a dead letter was discarded");
        Ok(OpsOutcome::Done(json!({ "discarded": command.dead_letter_id })))
    }
}

/// Returns the size of the value and the headers, in bytes.
fn size_of(message: &OutboxMessage) -> usize {
    let headers = message.headers.0.iter().map(|(name, text)| name.len() + text.len());
    message.value.as_ref().map_or(0, bytes::Bytes::len) + headers.sum::<usize>()
}

fn dead_letter_unknown() -> OpsOutcome {
    rejected("dead-letter-unknown", "this service has no dead letter with this id")
}

/// Returns the time at which a UUID of version 7 was created.
fn created_at(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()? * 1_000_000 + i64::from(nanos / 1_000);
    Timestamp::from_micros(micros).ok()
}
