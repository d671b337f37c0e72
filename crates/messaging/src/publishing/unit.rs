//! The unit of work: one transaction, and the messages that are appended in it.

use std::sync::Arc;

use bytes::Bytes;
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

/// One transaction on a service's store.
///
/// Messages that are published in it are appended to the outbox, and handed to the relay after the commit.
pub struct Unit<L: Ledger> {
    ledger: L,
    publisher: Publisher<L>,
    tx: L::Tx,
    messages: Vec<OutboxMessage>,
    /// Size of their values.
    bytes: usize,
    waiters: Vec<Arc<Notify>>,
}

impl<L: Ledger> Unit<L> {
    /// Begins a transaction.
    pub async fn begin(ledger: &L, publisher: &Publisher<L>) -> Result<Self, StoreError> {
        Ok(Self {
            tx: ledger.begin().await?,
            ledger: ledger.clone(),
            publisher: publisher.clone(),
            messages: Vec::new(),
            bytes: 0,
            waiters: Vec::new(),
        })
    }

    /// Returns the transaction, for the service's own statements.
    pub fn tx(&mut self) -> &mut L::Tx {
        &mut self.tx
    }

    /// Returns the ledger that the transaction belongs to.
    pub fn ledger(&self) -> &L {
        &self.ledger
    }

    /// Returns the ledger together with the transaction.
    pub(crate) fn parts(&mut self) -> (&L, &mut L::Tx) {
        (&self.ledger, &mut self.tx)
    }

    /// Returns the number of messages that were appended, and the bytes of their values.
    pub(crate) fn appended(&self) -> (usize, usize) {
        (self.messages.len(), self.bytes)
    }

    /// Returns the publisher that encodes this unit's messages.
    pub fn publisher(&self) -> &Publisher<L> {
        &self.publisher
    }

    /// Encodes a message and appends it to this unit, with `cause` as its causation.
    ///
    /// # Errors
    /// Returns [`AppendError::TooLarge`] if the encoded value exceeds [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES), and
    /// [`AppendError::Encoding`] if the message cannot be encoded.
    pub fn publish<M: Message>(&mut self, cause: &Cause, message: Outgoing<M>) -> Result<(), AppendError> {
        let message = self.publisher.frame(cause, message)?;
        self.append(message);
        Ok(())
    }

    /// Appends a message that was encoded before.
    pub fn append(&mut self, message: OutboxMessage) {
        self.bytes += message.value.as_ref().map_or(0, Bytes::len);
        self.messages.push(message);
    }

    /// Erases stored messages with these keys that may contain personal fields: dead letters of command and state topics,
    /// and messages of these topics in the outbox that are not due yet.
    ///
    /// Messages of this transaction are kept. A personal field in a message under another key (`CreateAdmin`, whose key is
    /// the operation) is not found.
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
        self.waiters.push(Arc::clone(waiting));
    }

    /// Replies that a command was accepted, if the command names a reply topic.
    pub fn accept<C>(&mut self, command: &Received<C>, accepted: CommandAccepted) -> Result<(), AppendError> {
        self.reply(&command.envelope, &command.cause(), accepted.into())
    }

    /// Replies that a command was rejected, if the command names a reply topic.
    pub fn reject<C>(&mut self, command: &Received<C>, rejection: &Rejection) -> Result<(), AppendError> {
        self.reject_command(&command.envelope, &command.cause(), rejection)
    }

    /// Replies that a command of any type was rejected.
    pub(crate) fn reject_command(
        &mut self,
        command: &Envelope,
        cause: &Cause,
        rejection: &Rejection,
    ) -> Result<(), AppendError> {
        let reply = CommandRejected {
            command_id: command.id,
            code: rejection.code.to_string(),
            detail: rejection.detail.clone(),
            errors: rejection.errors.clone(),
        };
        self.reply(command, cause, reply.into())
    }

    /// Replies that a command cannot be executed although no business rule rejects it.
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
        // A reply to a topic that does not exist could never be published, and its row would stay in the outbox forever.
        if !self.publisher.is_for_replies(topic) {
            tracing::warn!(command_id = %command.id, topic, "a command names a reply topic that is not for replies; it will get no reply");
            return Ok(());
        }
        let reply = Outgoing::<Reply>::new(command.correlation_id, reply).topic(topic.clone());
        self.publish(cause, reply)
    }

    /// Publishes a command that came too early to its own topic again, with a delay: the same `ce_id` with the next
    /// attempt. After the last attempt, the command is rejected instead.
    pub fn defer<C: Message>(&mut self, command: &Received<C>, rejection: &Rejection) -> Result<(), AppendError> {
        let Some(delay) = deferral::delay_before(command.envelope.attempt.saturating_add(1)) else {
            return self.reject(command, rejection);
        };
        let envelope = &command.envelope;
        let mut again = Outgoing::<C>::new(envelope.key, command.body.clone())
            .id(envelope.id)
            .time(envelope.time)
            .due_at(Timestamp::now() + delay)
            .expected_version(envelope.expected_version)
            .topic(command.partition.topic.clone());
        again.attempt = envelope.attempt + 1;
        again.reply_to.clone_from(&envelope.reply_to);
        // The command keeps its cause, because it is the same command.
        let cause = Cause {
            id: envelope.causation_id,
            ..command.cause()
        };
        self.publish(&cause, again)
    }

    /// Writes the outbox rows, commits, and hands the rows to the relay in memory.
    ///
    /// After a commit of unknown outcome, the relay sweeps, because the rows may have been committed.
    ///
    /// # Errors
    /// Returns [`CommitError::RolledBack`] if nothing was committed, and [`CommitError::Unknown`] if the outcome of the commit
    /// is unknown.
    pub async fn commit(mut self) -> Result<(), CommitError> {
        let waiters = std::mem::take(&mut self.waiters);
        let outcome = self.append_and_commit().await;
        if !matches!(outcome, Err(CommitError::RolledBack(_))) {
            waiters.iter().for_each(|waiting| waiting.notify_one());
        }
        outcome
    }

    async fn append_and_commit(mut self) -> Result<(), CommitError> {
        if self.messages.is_empty() {
            return self.ledger.commit(self.tx).await;
        }
        let owner = self.publisher.owner();
        let appended = self.ledger.append(&mut self.tx, owner, &self.messages).await;
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
            .zip(self.messages)
            .map(|(id, message)| OutboxRow { id, owner, message })
            .collect();
        self.publisher.hand_over(rows);
        Ok(())
    }

    /// Rolls the transaction back.
    pub async fn rollback(self) {
        self.ledger.rollback(self.tx).await;
    }
}
