//! The unit of work: one transaction, and what is said in it.

use std::sync::Arc;

use contracts::aggregate::Rejection;
use contracts::replies::{CommandAccepted, CommandFailed, CommandRejected, Reply};
use contracts::{Kind, Message, Timestamp, topics};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::ledger::{CommitError, Ledger, OutboxMessage, OutboxRow, StoreError};
use crate::publishing::publisher::{AppendError, Publisher};
use crate::wire::deferral;
use crate::wire::envelope::Envelope;
use crate::wire::message::{Cause, Outgoing, Received};

/// One transaction on a service's store. What is said in it is appended to the outbox and handed to the
/// relay after the commit.
pub struct Unit<L: Ledger> {
    ledger: L,
    publisher: Publisher<L>,
    tx: L::Tx,
    said: Vec<OutboxMessage>,
    wakes: Vec<Arc<Notify>>,
}

impl<L: Ledger> Unit<L> {
    pub async fn begin(ledger: &L, publisher: &Publisher<L>) -> Result<Self, StoreError> {
        Ok(Self {
            tx: ledger.begin().await?,
            ledger: ledger.clone(),
            publisher: publisher.clone(),
            said: Vec::new(),
            wakes: Vec::new(),
        })
    }

    /// The transaction, for the service's own statements.
    pub fn tx(&mut self) -> &mut L::Tx {
        &mut self.tx
    }

    pub fn ledger(&self) -> &L {
        &self.ledger
    }

    /// The transaction together with the ledger that it belongs to.
    pub(crate) fn parts(&mut self) -> (&L, &mut L::Tx) {
        (&self.ledger, &mut self.tx)
    }

    pub fn publisher(&self) -> &Publisher<L> {
        &self.publisher
    }

    /// Encodes a message and appends it to this unit, with `cause` as its causation.
    ///
    /// # Errors
    /// Returns [`AppendError::TooLarge`] if the encoded value exceeds [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES), and
    /// [`AppendError::Encoding`] if the message cannot be encoded.
    pub fn publish<M: Message>(&mut self, cause: &Cause, message: Outgoing<M>) -> Result<(), AppendError> {
        self.said.push(self.publisher.frame(cause, message)?);
        Ok(())
    }

    /// Says a message that was framed before.
    pub fn append(&mut self, message: OutboxMessage) {
        self.said.push(message);
    }

    /// For an erasure: deletes what this service keeps of messages with these keys where personal fields may be, on
    /// command and state topics: dead letters with their bytes, and messages for later that are not due yet.
    ///
    /// What this transaction itself says stays. A personal field in a message under another key (`CreateAdmin`, whose
    /// key is the operation) is not found.
    pub async fn erase(&mut self, keys: &[Uuid]) -> Result<(), StoreError> {
        let topics: Vec<String> = topics::ALL
            .iter()
            .filter(|topic| matches!(topic.kind, Kind::Commands | Kind::State))
            .map(|topic| self.publisher.topic_name(topic))
            .collect();
        self.ledger.erase(&mut self.tx, &topics, keys).await
    }

    /// Registers `waiting` to be notified after this unit commits.
    ///
    /// It is also notified after a commit of unknown outcome, because each waiter re-reads the store.
    pub fn notify_after_commit(&mut self, waiting: &Arc<Notify>) {
        self.wakes.push(Arc::clone(waiting));
    }

    /// Replies that a command was accepted, where it asks for a reply.
    pub fn accept<C>(&mut self, command: &Received<C>, accepted: CommandAccepted) -> Result<(), AppendError> {
        self.reply(&command.envelope, &command.cause(), accepted.into())
    }

    /// Replies a business no.
    pub fn reject<C>(&mut self, command: &Received<C>, rejected: &Rejection) -> Result<(), AppendError> {
        let reply = CommandRejected {
            command_id: command.envelope.id,
            code: rejected.code.to_string(),
            detail: rejected.detail.clone(),
            errors: rejected.errors.clone(),
        };
        self.reply(&command.envelope, &command.cause(), reply.into())
    }

    /// Replies that a command can't be executed: nothing is wrong with the request, and it will not work.
    pub(crate) fn fail(&mut self, command: &Envelope, code: &str, detail: &str) -> Result<(), AppendError> {
        let reply = CommandFailed {
            command_id: command.id,
            code: code.to_owned(),
            detail: detail.to_owned(),
        };
        self.reply(command, &Cause::of(command), reply.into())
    }

    fn reply(&mut self, command: &Envelope, cause: &Cause, reply: Reply) -> Result<(), AppendError> {
        let Some(topic) = &command.reply_to else {
            return Ok(());
        };
        // A reply to a topic that is not there could never be published, and its row would stay for ever.
        if !self.publisher.is_for_replies(topic) {
            tracing::warn!(command_id = %command.id, topic, "a command asks for its reply on a topic that is for none");
            return Ok(());
        }
        let reply = Outgoing::<Reply>::new(command.correlation_id, reply).topic(topic.clone());
        self.publish(cause, reply)
    }

    /// Sends a command that came too early back to its own topic, to be due a little later: the same
    /// `ce_id` with the next attempt. Where that was the last time, it is rejected instead.
    pub fn defer<C: Message>(&mut self, command: &Received<C>, then: &Rejection) -> Result<(), AppendError> {
        let Some(wait) = deferral::wait_before(command.envelope.attempt.saturating_add(1)) else {
            return self.reject(command, then);
        };
        let envelope = &command.envelope;
        let mut again = Outgoing::<C>::new(envelope.key, command.body.clone())
            .id(envelope.id)
            .time(envelope.time)
            .due_at(Timestamp::now() + wait)
            .expected_version(envelope.expected_version)
            .topic(command.partition.topic.clone());
        again.attempt = envelope.attempt + 1;
        again.reply_to.clone_from(&envelope.reply_to);
        // It is the same command: what caused it stays its cause.
        let cause = Cause {
            id: envelope.causation_id,
            ..command.cause()
        };
        self.publish(&cause, again)
    }

    /// Writes the outbox rows and commits; then the relay has them, without a look at the store.
    ///
    /// After an unknown outcome the relay sweeps: rows that were committed after all are found there.
    pub async fn commit(mut self) -> Result<(), CommitError> {
        let wakes = std::mem::take(&mut self.wakes);
        let outcome = self.append_and_commit().await;
        if !matches!(outcome, Err(CommitError::RolledBack(_))) {
            wakes.iter().for_each(|waiting| waiting.notify_one());
        }
        outcome
    }

    async fn append_and_commit(mut self) -> Result<(), CommitError> {
        if self.said.is_empty() {
            return self.ledger.commit(self.tx).await;
        }
        let owner = self.publisher.owner();
        let appended = self.ledger.append(&mut self.tx, owner, &self.said).await;
        let ids = match appended {
            Ok(ids) => ids,
            Err(error) => {
                self.ledger.rollback(self.tx).await;
                return Err(CommitError::RolledBack(error));
            }
        };
        match self.ledger.commit(self.tx).await {
            Ok(()) => {}
            Err(CommitError::Unknown(error)) => {
                self.publisher.request_sweep();
                return Err(CommitError::Unknown(error));
            }
            Err(error) => return Err(error),
        }
        let rows = ids
            .into_iter()
            .zip(self.said)
            .map(|(id, message)| OutboxRow { id, owner, message })
            .collect();
        self.publisher.hand_over(rows);
        Ok(())
    }

    pub async fn rollback(self) {
        self.ledger.rollback(self.tx).await;
    }
}
