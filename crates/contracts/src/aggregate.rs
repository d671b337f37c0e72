//! The trait of aggregates: two pure functions. The `postgres` crate is the runtime that calls them.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

pub use crate::state;
use crate::{Message, Timestamp};

/// Maximum number of domain events that one command may lead to.
///
/// Larger work continues with commands that the service sends to itself, so a batch stays small.
pub const MAX_DOMAIN_EVENTS: usize = 1_000;

/// A unit of consistency that commands change. Only its own domain events change its state.
///
/// Implementations use no async, clock, randomness, SQL or Kafka: the time, the actor and new ids arrive with the command.
pub trait Aggregate: Default + Clone + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// Key of the streams and snapshots in the store. It must never change.
    const NAME: &'static str;
    type Command: Message;
    type DomainEvent: Message;
    /// Data that decisions need beyond the state. It is fetched for a whole batch and evolves with the state.
    type Context: Default + Send + Sync;
    type Rejection: Into<Rejection>;

    /// Returns the domain events that the command causes. An empty list accepts the command without a change.
    ///
    /// # Errors
    /// Returns the reason why the command is rejected.
    fn decide(
        &self,
        context: &Self::Context,
        command: &Command<Self::Command>,
    ) -> Result<Vec<Self::DomainEvent>, Self::Rejection>;

    /// Applies one domain event of the aggregate `key`. This cannot fail, because the domain event is already recorded.
    fn evolve(&mut self, context: &mut Self::Context, key: Uuid, event: &Self::DomainEvent);
}

/// A command with the part of its envelope that a decision may use.
#[derive(Debug, Clone, PartialEq)]
pub struct Command<C> {
    /// `ce_id`.
    pub id: Uuid,
    /// Id of the aggregate.
    pub key: Uuid,
    /// The actor; `None` if the envelope names none.
    pub actor: Option<Actor>,
    /// `ce_time`: the time at which the command was sent.
    pub time: Timestamp,
    /// The version that the sender has seen; a stale one is rejected.
    pub expected_version: Option<i64>,
    /// `true` if a [deferred](Rejection::deferred) rejection of this attempt is final.
    pub last_attempt: bool,
    pub body: C,
}

/// The principal on whose behalf a message is sent; `ce_actor` on the wire, as `user:<uuid>`, `admin:<uuid>` or
/// `service:<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    User(Uuid),
    /// A user with the role admin, which the gateway has checked. An admin may act for every user.
    Admin(Uuid),
    /// A service that acts on its own behalf.
    System(Cow<'static, str>),
}

/// Reason why a command is rejected, as reported to its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Stable, kebab-case, e.g. `email-taken`.
    pub code: Cow<'static, str>,
    /// One human-readable sentence without personal data.
    pub detail: String,
    /// The invalid fields; empty if no field is invalid.
    pub errors: Vec<FieldError>,
    /// The command came too early: it is executed again later, and rejected only after its last attempt.
    pub deferred: bool,
}

/// Error of one field of a command.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FieldError {
    pub field: String,
    /// Stable, kebab-case.
    pub code: String,
    /// One human-readable sentence without personal data.
    pub message: String,
}

/// A string that is not an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected user:<uuid>, admin:<uuid> or service:<name>")]
pub struct UnknownActor;

/// Derives serialization for a domain's structs and enums so that snapshots can store them and the domain does not name
/// serde.
///
/// ```
/// contracts::state! {
///     #[derive(Debug, Default, Clone, PartialEq)]
///     pub struct Roster {
///         pub capacity: i32,
///         pub phase: Phase,
///     }
///
///     #[derive(Debug, Default, Clone, PartialEq)]
///     pub enum Phase {
///         #[default]
///         Draft,
///         Open,
///     }
/// }
/// ```
#[macro_export]
macro_rules! state {
    ($($item:item)+) => {
        $(
            #[derive($crate::__private::serde::Serialize, $crate::__private::serde::Deserialize)]
            #[serde(crate = "::contracts::__private::serde")]
            $item
        )+
    };
}

impl Actor {
    /// Returns the actor for a service that acts on its own behalf.
    pub const fn service(name: &'static str) -> Self {
        Self::System(Cow::Borrowed(name))
    }

    /// Returns the user's id, or `None` for a service.
    pub fn user(&self) -> Option<Uuid> {
        match self {
            Self::User(id) | Self::Admin(id) => Some(*id),
            Self::System(_) => None,
        }
    }

    /// Returns `true` if the actor may act for `owner`: the owner, an admin, or a service.
    pub fn may_act_for(&self, owner: Uuid) -> bool {
        match self {
            Self::User(id) => *id == owner,
            Self::Admin(_) | Self::System(_) => true,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Admin(id) => write!(f, "admin:{id}"),
            Self::System(name) => write!(f, "service:{name}"),
        }
    }
}

impl FromStr for Actor {
    type Err = UnknownActor;

    fn from_str(text: &str) -> Result<Self, UnknownActor> {
        match text.split_once(':') {
            Some(("user", id)) => Uuid::parse_str(id).map(Self::User).map_err(|_| UnknownActor),
            Some(("admin", id)) => Uuid::parse_str(id).map(Self::Admin).map_err(|_| UnknownActor),
            Some(("service", name)) if !name.is_empty() => Ok(Self::System(Cow::Owned(name.to_owned()))),
            _ => Err(UnknownActor),
        }
    }
}

impl Rejection {
    /// Creates a final rejection without field errors.
    pub fn new(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
            errors: Vec::new(),
            deferred: false,
        }
    }

    /// Adds the invalid fields.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Marks the command as too early so that it is executed again later.
    #[must_use]
    pub fn deferred(mut self) -> Self {
        self.deferred = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_unchanged_by_formatting_and_parsing() {
        for actor in [
            Actor::User(Uuid::from_u128(7)),
            Actor::Admin(Uuid::from_u128(7)),
            Actor::service("registration"),
        ] {
            assert_eq!(actor.to_string().parse(), Ok(actor));
        }
        for text in [
            "",
            "user:",
            "user:ada",
            "admin:ada",
            "service:",
            "registration",
            "robot:7",
        ] {
            assert_eq!(text.parse::<Actor>(), Err(UnknownActor), "{text}");
        }
    }
}
