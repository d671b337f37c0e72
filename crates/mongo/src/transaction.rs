//! Transactions: begun, committed, rolled back.

use std::time::Duration;

use messaging::ledger::{CommitError, StoreError, StoreErrorKind};
use mongodb::bson::{Document, doc};
use mongodb::options::ReadConcern;
use mongodb::{ClientSession, Collection, Database};
use tokio::time::Instant;

use crate::error::{commit_error, kind_of_code, store_error};
use crate::{Mongo, durable};

/// How long a commit of unknown outcome is asked for again.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);
const COMMIT_PAUSE: Duration = Duration::from_millis(50);

/// A multi-document transaction: snapshot reads, committed to a majority and journaled. Dropped without a
/// commit, it is aborted.
pub struct Tx {
    session: ClientSession,
    database: Database,
}

/// One update of many that are sent together.
#[derive(Debug, Clone)]
pub struct Update {
    pub filter: Document,
    /// Update operators, or a whole document.
    pub change: Document,
    /// Whether a document is made where the filter finds none.
    pub upsert: bool,
}

impl Tx {
    /// What a statement must be given to be part of the transaction:
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

    /// Sends many different updates in one round trip, each of at most one document. Answers how many
    /// documents were matched or made.
    pub async fn update_each(
        &mut self,
        collection: &str,
        updates: impl IntoIterator<Item = Update>,
    ) -> Result<u64, StoreError> {
        let Some(command) = update_command(collection, updates) else {
            return Ok(0);
        };
        let answer = self.database.run_command(command).session(&mut self.session).await;
        matched(&answer.map_err(store_error)?)
    }
}

impl Mongo {
    /// Like [`Tx::update_each`], each update for itself.
    pub(crate) async fn update_each(
        &self,
        collection: &str,
        updates: impl IntoIterator<Item = Update>,
    ) -> Result<u64, StoreError> {
        let Some(mut command) = update_command(collection, updates) else {
            return Ok(0);
        };
        // A command takes no write concern from the client.
        let concern = mongodb::bson::serialize_to_document(&durable())
            .map_err(|error| StoreError::new(StoreErrorKind::Broken, error))?;
        command.insert("writeConcern", concern);
        matched(&self.database().run_command(command).await.map_err(store_error)?)
    }

    pub(crate) async fn begin_transaction(&self) -> Result<Tx, StoreError> {
        let mut session = self.client().start_session().await.map_err(store_error)?;
        session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(durable())
            .max_commit_time(COMMIT_PATIENCE)
            .await
            .map_err(store_error)?;
        Ok(Tx {
            session,
            database: self.database().clone(),
        })
    }

    /// Commits. Where the outcome is unknown, only the commit is tried again, never the statements.
    pub(crate) async fn commit_transaction(&self, mut tx: Tx) -> Result<(), CommitError> {
        let deadline = Instant::now() + COMMIT_PATIENCE;
        loop {
            let Err(error) = tx.session.commit_transaction().await else {
                return Ok(());
            };
            match commit_error(error) {
                CommitError::Unknown(_) if Instant::now() < deadline => tokio::time::sleep(COMMIT_PAUSE).await,
                error => return Err(error),
            }
        }
    }

    pub(crate) async fn abort_transaction(&self, mut tx: Tx) {
        // Whatever fails here, the server ends the transaction by itself.
        if let Err(error) = tx.session.abort_transaction().await {
            tracing::debug!(error = %crate::store_error(error), "a transaction was not aborted");
        }
    }
}

/// The driver's own bulk write needs MongoDB 8.
fn update_command(collection: &str, updates: impl IntoIterator<Item = Update>) -> Option<Document> {
    let updates: Vec<_> = updates
        .into_iter()
        .map(|update| doc! { "q": update.filter, "u": update.change, "upsert": update.upsert })
        .collect();
    (!updates.is_empty()).then(|| doc! { "update": collection, "updates": updates, "ordered": true })
}

/// Why an update among many failed.
#[derive(Debug, thiserror::Error)]
#[error("MongoDB answered {0} to an update")]
struct Refused(i32);

fn matched(answer: &Document) -> Result<u64, StoreError> {
    if let Some(error) = answer.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
        let code = error
            .as_document()
            .and_then(|error| error.get_i32("code").ok())
            .unwrap_or(0);
        return Err(StoreError::new(kind_of_code(code), Refused(code)));
    }
    if let Ok(error) = answer.get_document("writeConcernError") {
        let code = error.get_i32("code").unwrap_or(0);
        return Err(StoreError::new(StoreErrorKind::Unavailable, Refused(code)));
    }
    Ok(answer
        .get_i32("n")
        .ok()
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(0))
}
