use std::time::Duration;

use messaging::ledger::{CommitError, StoreError, StoreErrorKind, Transactions};
use mongodb::bson::{Document, doc};
use mongodb::options::{ReadConcern, WriteConcern};
use mongodb::{ClientSession, Collection, Database};
use tokio::time::Instant;

use crate::error::{commit_error, kind_of_code, store_error};
use crate::{Mongo, durable};

/// Maximum time for which a commit of unknown outcome is retried.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two commit attempts.
const COMMIT_PAUSE: Duration = Duration::from_millis(50);

/// A multi-document transaction. It reads a snapshot, and its commit is acknowledged by a majority and journaled. It is
/// aborted if it is dropped without a commit.
pub struct Tx {
    session: ClientSession,
    database: Database,
}

/// One of many updates that are sent together.
#[derive(Debug, Clone)]
pub struct Update {
    pub filter: Document,
    /// Update operators, or a whole document.
    pub change: Document,
    /// `true` inserts a document if the filter matches none.
    pub upsert: bool,
}

impl Tx {
    /// Returns the session, which makes a statement part of the transaction:
    /// `collection.insert_many(rows).session(tx.session())`.
    pub fn session(&mut self) -> &mut ClientSession {
        &mut self.session
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    pub fn collection<T: Send + Sync>(&self, name: &str) -> Collection<T> {
        self.database.collection(name)
    }

    /// Sends many different updates in one round trip, each of at most one document.
    ///
    /// Returns the number of documents that were matched or inserted.
    pub async fn update_each(
        &mut self,
        collection: &str,
        updates: impl IntoIterator<Item = Update>,
    ) -> Result<u64, StoreError> {
        matched(&self.send_updates(collection, updates).await.map_err(store_error)?)
    }

    /// Sends updates, and returns the response of the server.
    pub(crate) async fn send_updates(
        &mut self,
        collection: &str,
        updates: impl IntoIterator<Item = Update>,
    ) -> Result<Document, mongodb::error::Error> {
        match update_command(collection, updates) {
            Some(command) => self.database.run_command(command).session(&mut self.session).await,
            None => Ok(Document::new()),
        }
    }
}

impl Mongo {
    /// Does the same as [`Tx::update_each`] outside of a transaction: each update takes effect by itself.
    pub(crate) async fn update_each(
        &self,
        collection: &str,
        updates: impl IntoIterator<Item = Update>,
        concern: &WriteConcern,
    ) -> Result<u64, StoreError> {
        let Some(mut command) = update_command(collection, updates) else {
            return Ok(0);
        };
        // A command does not inherit the write concern of the client.
        let concern = mongodb::bson::serialize_to_document(concern)
            .map_err(|error| StoreError::new(StoreErrorKind::Broken, error))?;
        command.insert("writeConcern", concern);
        matched(&self.database().run_command(command).await.map_err(store_error)?)
    }
}

impl Transactions for Mongo {
    type Tx = Tx;

    async fn ping(&self) -> Result<(), StoreError> {
        self.database()
            .run_command(doc! { "ping": 1 })
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn begin(&self) -> Result<Tx, StoreError> {
        let mut session = self.client().start_session().await.map_err(store_error)?;
        session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(durable())
            .max_commit_time(COMMIT_TIMEOUT)
            .await
            .map_err(store_error)?;
        Ok(Tx {
            session,
            database: self.database().clone(),
        })
    }

    async fn commit(&self, mut tx: Tx) -> Result<(), CommitError> {
        let deadline = Instant::now() + COMMIT_TIMEOUT;
        loop {
            let Err(error) = tx.session.commit_transaction().await else {
                return Ok(());
            };
            match commit_error(error) {
                // Only the commit is retried, never the statements.
                CommitError::Unknown(_) if Instant::now() < deadline => tokio::time::sleep(COMMIT_PAUSE).await,
                error => return Err(error),
            }
        }
    }

    async fn rollback(&self, mut tx: Tx) {
        if let Err(error) = tx.session.abort_transaction().await {
            tracing::debug!(error = %store_error(error), "cannot abort a transaction; the server will end it");
        }
    }
}

/// Returns one command for all updates; `None` if there are none. The driver's own bulk write requires MongoDB 8.
fn update_command(collection: &str, updates: impl IntoIterator<Item = Update>) -> Option<Document> {
    let updates: Vec<_> = updates
        .into_iter()
        .map(|update| doc! { "q": update.filter, "u": update.change, "upsert": update.upsert })
        .collect();
    (!updates.is_empty()).then(|| doc! { "update": collection, "updates": updates, "ordered": true })
}

/// The error code of a failed update.
#[derive(Debug, thiserror::Error)]
#[error("MongoDB returned error {0} for an update")]
struct UpdateError(i32);

/// Returns the number of documents that the updates of a response matched or inserted.
pub(crate) fn matched(response: &Document) -> Result<u64, StoreError> {
    if let Some(error) = response.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
        let code = error
            .as_document()
            .and_then(|error| error.get_i32("code").ok())
            .unwrap_or(0);
        return Err(StoreError::new(kind_of_code(code), UpdateError(code)));
    }
    if let Ok(error) = response.get_document("writeConcernError") {
        let code = error.get_i32("code").unwrap_or(0);
        return Err(StoreError::new(StoreErrorKind::Unavailable, UpdateError(code)));
    }
    Ok(response
        .get_i32("n")
        .ok()
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(0))
}
