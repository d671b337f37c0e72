//! What requests and handlers share.

use std::sync::Arc;

use anyhow::Context;
use contracts::links::LinkKey;
use messaging::ledger::StoreError;
use messaging::{Publisher, Subscriptions, Unit};
use postgres::Postgres;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config};
use crate::fingerprint::Fingerprints;
use crate::handlers;
use crate::limits::Limits;
use crate::operations::{self, Operations};
use crate::ops::Accounts;
use crate::password_resets::{PasswordResetTask, PasswordResets};
use crate::passwords::Hasher;
use crate::principal_cache::PrincipalCache;
use crate::rebuild::{Endpoints, Rebuild};
use crate::security::{SecurityLog, SecurityLogWriter};
use crate::tickets::Tickets;
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
    principals: PrincipalCache,
    fingerprints: Fingerprints,
    limits: Arc<Limits>,
    security_log: SecurityLog,
    password_resets: PasswordResets,
    links: LinkKey,
    tickets: Tickets,
    http: config::Http,
    rebuild_endpoints: Endpoints,
    publisher: Publisher<Postgres>,
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
        let (operations, of_operations) = Operations::new(pool.clone(), publisher.clone(), config.operations, drain);
        let (security_log, note_taker) = SecurityLog::new(ledger.clone(), publisher.clone());
        let (password_resets, reset_task) = PasswordResets::new(ledger.clone(), publisher.clone());
        let limits = Arc::new(Limits::new(config.limits));
        let tasks = Tasks {
            operations: of_operations,
            security_log: note_taker,
            password_resets: reset_task,
            limits: Arc::clone(&limits),
            tokens: tokens.clone(),
            pool: pool.clone(),
        };
        let inner = Inner {
            operations,
            tokens,
            limits,
            security_log,
            password_resets,
            links: LinkKey::new(config.link_key.expose()),
            tickets: Tickets::new(&config.ticket_key),
            publisher,
            hasher: Hasher::new(config.passwords),
            principals: PrincipalCache::new(pool),
            fingerprints: Fingerprints::new(&config.fingerprint_key),
            http: config.http.clone(),
            rebuild_endpoints: Endpoints::of(config),
            ledger,
        };
        Ok((Self { inner: Arc::new(inner) }, tasks))
    }

    /// Everything the gateway listens to, on one screen. No row is written by two of them.
    pub fn subscriptions(&self) -> Subscriptions<Postgres> {
        let wakes = || self.operations().wakes();
        Subscriptions::new()
            .handle(with(wakes(), handlers::Replies::new)) // gateway.replies → operations, pending credentials
            .handle(with(wakes(), handlers::Users::new)) // users → users; a deactivation or erasure ends credentials and roles
            .handle(with(wakes(), handlers::Profiles::new)) // users.profiles → profiles
            .handle(with(wakes(), handlers::Events::new)) // events → events, event_history
            .handle(with(wakes(), handlers::Registrations::new)) // registrations → rosters, registrations
            .handle(|| handlers::Notifications) // notifications → notifications
            .handle(|| handlers::Processes) // ops.status → processes
            .handle_ops(Accounts) // ops.commands → admins, roles
            .handle_ops(Rebuild(self.clone())) // ops.commands → read models anew
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

    pub fn principals(&self) -> &PrincipalCache {
        &self.inner.principals
    }

    pub fn fingerprints(&self) -> &Fingerprints {
        &self.inner.fingerprints
    }

    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    pub fn security_log(&self) -> &SecurityLog {
        &self.inner.security_log
    }

    pub fn password_resets(&self) -> &PasswordResets {
        &self.inner.password_resets
    }

    /// Keys the tokens of mailed links.
    pub fn links(&self) -> &LinkKey {
        &self.inner.links
    }

    /// Makes the codes of tickets.
    pub fn tickets(&self) -> &Tickets {
        &self.inner.tickets
    }

    /// A transaction, for what the gateway itself decides.
    pub async fn unit(&self) -> Result<Unit<Postgres>, StoreError> {
        Unit::begin(&self.inner.ledger, &self.inner.publisher).await
    }

    /// Where the logs are that read models are made of.
    pub fn rebuild_endpoints(&self) -> &Endpoints {
        &self.inner.rebuild_endpoints
    }

    pub fn http(&self) -> &config::Http {
        &self.inner.http
    }
}

/// What must be running for requests to be answered.
pub struct Tasks {
    operations: operations::Tasks,
    security_log: SecurityLogWriter,
    password_resets: PasswordResetTask,
    limits: Arc<Limits>,
    tokens: Tokens,
    pool: PgPool,
}

impl Tasks {
    /// Runs until `stop`. What was handed in before is written.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(
            self.operations.run(stop.clone()),
            self.security_log.run(stop.clone()),
            self.password_resets.run(stop.clone()),
            self.limits.run(stop.clone()),
            self.tokens.run(self.pool, stop),
        );
    }
}

fn with<W: Clone, H>(wakes: W, make: fn(W) -> H) -> impl Fn() -> H {
    move || make(wakes.clone())
}
