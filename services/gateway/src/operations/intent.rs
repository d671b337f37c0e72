//! A command for another service, and the operation that tracks it.

use std::time::Duration;

use contracts::{Actor, Message};
use uuid::Uuid;

use crate::store::operations::{Idempotency, Kind};

/// A command for another service, before it is stored as an operation.
pub struct Intent<M> {
    /// Id of the new operation; also the correlation id, the id of the command and the key of the reply.
    pub(super) id: Uuid,
    pub(super) kind: Kind,
    pub(super) actor: Actor,
    /// The aggregate that the command is for.
    pub(super) key: Uuid,
    pub(super) command: M,
    pub(super) resource_id: Uuid,
    pub(super) expected_version: Option<i64>,
    pub(super) password_hash: Option<String>,
    pub(super) idempotency: Option<Idempotency>,
    pub(super) wait: Duration,
}

impl<M: Message> Intent<M> {
    /// Creates an intent with a new id, on behalf of `actor`. `resource_id` is the resource that the operation affects,
    /// and the aggregate that the command is for.
    ///
    /// `actor` is [`GATEWAY`](super::GATEWAY) if no user is signed in. The operation is not waited for, unless
    /// [`wait`](Self::wait) is called.
    pub fn new(kind: Kind, actor: Actor, resource_id: Uuid, command: impl Into<M>) -> Self {
        Self {
            id: Uuid::now_v7(),
            kind,
            actor,
            key: resource_id,
            command: command.into(),
            resource_id,
            expected_version: None,
            password_hash: None,
            idempotency: None,
            wait: Duration::ZERO,
        }
    }

    /// Creates the intent of a query. It affects no resource, so its own id takes the place of both the resource and
    /// the aggregate.
    pub fn query(kind: Kind, actor: Actor, query: impl Into<M>) -> Self {
        let mut intent = Self::new(kind, actor, Uuid::nil(), query);
        intent.resource_id = intent.id;
        intent.keyed_by_operation()
    }

    /// Sets the aggregate that the command is for, if it is not the resource.
    #[must_use]
    pub fn aggregate(mut self, id: Uuid) -> Self {
        self.key = id;
        self
    }

    /// Uses the id of the operation as the key, because the command is for a service and not for an aggregate.
    #[must_use]
    pub fn keyed_by_operation(mut self) -> Self {
        self.key = self.id;
        self
    }

    /// Sets the version that the client has read, if any. The command is rejected if the aggregate has another one.
    #[must_use]
    pub fn expected_version(mut self, version: Option<i64>) -> Self {
        self.expected_version = version;
        self
    }

    /// Sets the password hash of a sign-up. It is pending until the reply arrives.
    #[must_use]
    pub fn password_hash(mut self, hash: String) -> Self {
        self.password_hash = Some(hash);
        self
    }

    /// Sets the Idempotency-Key of the request, if any.
    #[must_use]
    pub fn idempotency(mut self, idempotency: Option<Idempotency>) -> Self {
        self.idempotency = idempotency;
        self
    }

    /// Sets how long the request waits for the outcome.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}
