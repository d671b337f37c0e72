//! The state that requests and handlers share.

use std::sync::Arc;

use anyhow::Context;
use chassis::settings::Url;
use contracts::links::LinkKey;
use messaging::ledger::StoreError;
use messaging::{Publisher, Subscriptions, Unit};
use postgres::Postgres;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::clean_up::CleanUp;
use crate::config::{self, Config};
use crate::event_reads::{EventReader, EventReads};
use crate::fingerprint::Fingerprints;
use crate::handlers;
use crate::limits::Limits;
use crate::operations::{self, OperationNotifier, Operations};
use crate::ops::Accounts;
use crate::password_resets::{PasswordResetTask, PasswordResets};
use crate::passwords::Hasher;
use crate::principal_cache::PrincipalCache;
use crate::rebuild::Rebuild;
use crate::security::{SecurityLog, SecurityLogWriter};
use crate::tickets::Tickets;
use crate::tokens::Tokens;

/// The state of one gateway process. Cheap to clone.
///
/// Several processes share a database. Their correctness never depends on the state in memory.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    ledger: Postgres,
    operations: Operations,
    event_reads: EventReads,
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
    publisher: Publisher<Postgres>,
    database: Url,
    messaging: messaging::Settings,
}

impl App {
    /// Creates the state and its background tasks. Requests are only processed while the tasks run.
    ///
    /// Once `drain` is cancelled, no request waits for the outcome of its operation.
    ///
    /// # Errors
    /// Returns an error if the keys of the access tokens cannot be loaded.
    pub async fn new(
        config: &Config,
        ledger: Postgres,
        publisher: Publisher<Postgres>,
        drain: CancellationToken,
    ) -> anyhow::Result<(Self, Tasks)> {
        let pool = ledger.pool().clone();
        let tokens = Tokens::load(&config.tokens, &pool)
            .await
            .context("cannot load the keys of the access tokens")?;
        let (operations, operation_tasks) = Operations::new(pool.clone(), publisher.clone(), drain);
        let (event_reads, event_reader) = EventReads::new(pool.clone());
        let (security_log, security_log_writer) = SecurityLog::new(ledger.clone(), publisher.clone());
        let (password_resets, password_reset_task) = PasswordResets::new(ledger.clone(), publisher.clone());
        let limits = Arc::new(Limits::new(config.limits));
        let tasks = Tasks {
            operations: operation_tasks,
            event_reader,
            security_log: security_log_writer,
            password_resets: password_reset_task,
            limits: Arc::clone(&limits),
            tokens: tokens.clone(),
            clean_up: CleanUp::new(pool.clone(), config.operations),
            pool: pool.clone(),
        };
        let inner = Inner {
            operations,
            event_reads,
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
            database: config.database.url.clone(),
            messaging: config.messaging.clone(),
            ledger,
        };
        Ok((Self { inner: Arc::new(inner) }, tasks))
    }

    /// Returns all subscriptions of the gateway. No two of them write the same row.
    pub fn subscriptions(&self) -> Subscriptions<Postgres> {
        let subscriptions = Subscriptions::new()
            .handle(self.notifying(handlers::Replies)) // gateway.replies → operations, pending credentials
            .handle(self.notifying(handlers::Users)) // users → users; a deactivation or erasure ends credentials and roles
            .handle(self.notifying(handlers::Profiles)) // users.profiles → profiles
            .handle(self.notifying(handlers::Events)) // events → events, event_history
            .handle(self.notifying(handlers::Registrations)) // registrations → rosters, registrations
            .handle(|| handlers::Notifications) // notifications → notifications
            .handle(|| handlers::Processes) // ops.status → processes
            .handle_ops(Accounts); // ops.commands → admins, roles
        let rebuild = Rebuild {
            database: self.inner.database.clone(),
            messaging: self.inner.messaging.clone(),
            codec: self.inner.publisher.codec().clone(),
            subscriptions: subscriptions.clone(),
        };
        subscriptions.handle_ops(rebuild) // ops.commands → rebuilt read models
    }

    /// Returns a constructor of handlers that notify the requests of this process.
    fn notifying<H>(&self, handler: fn(OperationNotifier) -> H) -> impl Fn() -> H + use<H> {
        let notifier = self.operations().notifier();
        move || handler(notifier.clone())
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

    pub fn event_reads(&self) -> &EventReads {
        &self.inner.event_reads
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

    /// Returns the key that signs the tokens of links sent by e-mail.
    pub fn links(&self) -> &LinkKey {
        &self.inner.links
    }

    /// Returns the generator of ticket codes.
    pub fn tickets(&self) -> &Tickets {
        &self.inner.tickets
    }

    /// Begins a transaction, for changes that the gateway itself decides.
    pub async fn unit(&self) -> Result<Unit<Postgres>, StoreError> {
        Unit::begin(&self.inner.ledger, &self.inner.publisher).await
    }

    pub fn http(&self) -> &config::Http {
        &self.inner.http
    }
}

/// The background tasks that requests depend on.
pub struct Tasks {
    operations: operations::Tasks,
    event_reader: EventReader,
    security_log: SecurityLogWriter,
    password_resets: PasswordResetTask,
    limits: Arc<Limits>,
    tokens: Tokens,
    clean_up: CleanUp,
    pool: PgPool,
}

impl Tasks {
    /// Runs until `stop`. Work that is queued at that time is still done.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(
            self.operations.run(stop.clone()),
            self.event_reader.run(stop.clone()),
            self.security_log.run(stop.clone()),
            self.password_resets.run(stop.clone()),
            self.limits.run(stop.clone()),
            self.clean_up.run(stop.clone()),
            self.tokens.run(self.pool, stop),
        );
    }
}
