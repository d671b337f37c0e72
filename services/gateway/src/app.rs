//! What requests and handlers share.

use std::sync::Arc;

use anyhow::Context;
use messaging::{Publisher, Subscriptions};
use postgres::Postgres;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config};
use crate::consumers;
use crate::fingerprint::Fingerprints;
use crate::members::Members;
use crate::operations::{Operations, Tasks};
use crate::passwords::Hasher;
use crate::tokens::Tokens;

/// One gateway process. Several share a database, and what is kept here is needed by none of them to be right.
/// Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    ledger: Postgres,
    operations: Operations,
    tokens: Tokens,
    hasher: Hasher,
    members: Members,
    fingerprints: Fingerprints,
    http: config::Http,
}

impl App {
    /// `drain`: from then on no request waits for its outcome. The tasks must run for requests to be answered.
    pub async fn new(
        config: &Config,
        ledger: Postgres,
        publisher: Publisher<Postgres>,
        drain: CancellationToken,
    ) -> anyhow::Result<(Self, Tasks)> {
        let pool = ledger.pool().clone();
        let tokens = Tokens::load(&config.tokens, &pool)
            .await
            .context("there is no key for access tokens")?;
        let (operations, tasks) = Operations::new(pool.clone(), publisher, config.operations, drain);
        let inner = Inner {
            operations,
            tokens,
            hasher: Hasher::new(config.passwords),
            members: Members::new(pool),
            fingerprints: Fingerprints::new(&config.fingerprint_key),
            http: config.http.clone(),
            ledger,
        };
        Ok((Self { inner: Arc::new(inner) }, tasks))
    }

    /// Everything the gateway listens to, on one screen. No row is written by two of them.
    pub fn subscriptions(&self) -> Subscriptions<Postgres> {
        let wakes = || self.operations().wakes();
        Subscriptions::new()
            .handle(with(wakes(), consumers::Replies::new)) // gateway.replies → operations, pending credentials
            .handle(with(wakes(), consumers::Users::new)) // users → users; a deactivation ends credentials and roles
            .handle(with(wakes(), consumers::Profiles::new)) // users.profiles → profiles
            .handle(with(wakes(), consumers::Events::new)) // events → events
            .handle(with(wakes(), consumers::Registrations::new)) // registrations → rosters, registrations
            .handle(|| consumers::Notifications) // notifications → notifications
            .handle(|| consumers::Processes) // ops.status → processes
    }

    pub fn ledger(&self) -> &Postgres {
        &self.inner.ledger
    }

    pub fn pool(&self) -> &PgPool {
        self.inner.ledger.pool()
    }

    pub fn operations(&self) -> &Operations {
        &self.inner.operations
    }

    pub fn tokens(&self) -> &Tokens {
        &self.inner.tokens
    }

    pub fn hasher(&self) -> &Hasher {
        &self.inner.hasher
    }

    pub fn members(&self) -> &Members {
        &self.inner.members
    }

    pub fn fingerprints(&self) -> &Fingerprints {
        &self.inner.fingerprints
    }

    pub fn http(&self) -> &config::Http {
        &self.inner.http
    }
}

fn with<W: Clone, H>(wakes: W, make: fn(W) -> H) -> impl Fn() -> H {
    move || make(wakes.clone())
}
