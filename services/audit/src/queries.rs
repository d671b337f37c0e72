//! Handles queries to the log. A query is recorded before it is handled, so it can be among its own results.

mod checkpoints;
mod entries;
mod proof;
mod reading;
mod verification;

use std::time::Duration;

use chassis::error_chain;
use contracts::replies::CommandAccepted;
use contracts::{AuditQuery, FieldError, Rejection};
use messaging::ledger::{StoreError, StoreErrorKind};
use messaging::{Failure, Handler, MAX_VALUE_BYTES, Received, Unit};
use mongo::{Mongo, Tx, store_error};
use serde_json::json;

/// Maximum number of rows on a page.
pub const MAX_PAGE_ROWS: i32 = 200;
/// Maximum number of entries in one reply to `ReadAuditLog`.
const MAX_READ_ENTRIES: i32 = 1_000;
/// Maximum size of a result, in bytes. The other fields of a reply take far less than the remaining 4 KiB.
const MAX_RESULT_BYTES: usize = MAX_VALUE_BYTES - 4 * 1024;
/// Maximum time for a statement of a query. A slower query is rejected, because the queries behind it wait.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Code of MongoDB's error MaxTimeMSExpired.
const MAX_TIME_EXPIRED: i32 = 50;

/// Handles `audit.queries`: replies to each query with JSON.
pub(crate) struct QueryHandler;

/// The reason why a query has no result.
#[derive(Debug)]
enum QueryError {
    /// The query is rejected. The transaction can be committed.
    Rejected(Rejection),
    /// The transaction must be rolled back.
    Failed(Failure),
}

impl Handler<Mongo> for QueryHandler {
    type Message = AuditQuery;

    async fn handle(&mut self, unit: &mut Unit<Mongo>, messages: &[&Received<AuditQuery>]) -> Result<(), Failure> {
        for message in messages {
            match execute(unit.tx(), &message.body).await {
                Ok(result) => {
                    let accepted = CommandAccepted {
                        command_id: message.envelope.id,
                        version: 0,
                        effects: Vec::new(),
                        result: Some(result),
                    };
                    unit.accept(message, accepted)?;
                }
                Err(QueryError::Rejected(rejection)) => unit.reject(message, &rejection)?,
                Err(QueryError::Failed(failure)) => return Err(failure),
            }
        }
        Ok(())
    }
}

async fn execute(tx: &mut Tx, query: &AuditQuery) -> Result<String, QueryError> {
    match query {
        AuditQuery::FindAuditEntries(query) => entries::find(tx, query).await,
        AuditQuery::ProveAuditEntry(query) => proof::prove(tx, query).await,
        AuditQuery::FindCheckpoints(query) => checkpoints::find_checkpoints(tx, query).await,
        AuditQuery::FindCertificates(query) => checkpoints::find_certificates(tx, query).await,
        AuditQuery::ReadAuditLog(query) => reading::read(tx, query).await,
        AuditQuery::VerifyAuditLog(query) => verification::verify(tx, query).await,
    }
}

impl From<Rejection> for QueryError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<StoreError> for QueryError {
    /// A document that cannot be read rejects the query, because retries would not help and the queries behind it would wait.
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::Unexpected => {
                tracing::error!(
                    error = error_chain(&error),
                    "rejecting a query because a log document cannot be read"
                );
                Self::Failed(Failure::Reject(unreadable()))
            }
            _ => Self::Failed(error.into()),
        }
    }
}

/// Converts the error of a statement with [`QUERY_TIMEOUT`]. A statement that timed out has ended the transaction too.
fn failure(error: mongodb::error::Error) -> QueryError {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::Command(command) if command.code == MAX_TIME_EXPIRED => {
            QueryError::Failed(Failure::Reject(Rejection::new(
                "too-slow",
                "The query would have to read too many entries. Narrow it, for example by time.",
            )))
        }
        _ => store_error(error).into(),
    }
}

/// Returns the rejection of a query that encountered an unreadable document. It is committed in another transaction, because
/// this one may have ended.
fn unreadable() -> Rejection {
    Rejection::new(
        "log-damaged",
        "The query needs a log document that cannot be read. Verify the log.",
    )
}

/// Returns the error for a tree that is not as this service stored it.
fn damaged() -> QueryError {
    Rejection::new(
        "log-damaged",
        "The query needs a part of the tree that is missing or cannot be read. Verify the log.",
    )
    .into()
}

fn invalid(field: &str, message: impl Into<String>) -> FieldError {
    FieldError {
        field: field.to_owned(),
        code: "invalid".to_owned(),
        message: message.into(),
    }
}

fn invalid_limit(limit: i32, longest: i32) -> Option<FieldError> {
    let fits = (1..=longest).contains(&limit);
    (!fits).then(|| invalid("limit", format!("must be from 1 to {longest}")))
}

fn invalid_cursor() -> FieldError {
    invalid("cursor", "must be the next_cursor of an earlier page")
}

/// Rejects a query with these field errors, if there are any.
fn all_valid(errors: Vec<FieldError>) -> Result<(), Rejection> {
    if errors.is_empty() {
        return Ok(());
    }
    let mut rejection = Rejection::new("invalid", "The query has invalid fields. See `errors`.");
    rejection.errors = errors;
    Err(rejection)
}

/// Returns the first rows that fit into `max_bytes`, but at least one.
fn fitting(rows: impl Iterator<Item = String>, max_bytes: usize) -> Vec<String> {
    let mut size = 0;
    let fits = |row: &String| {
        let is_first = size == 0;
        size += row.len() + 1;
        size <= max_bytes || is_first
    };
    rows.take_while(fits).collect()
}

/// Returns a page as JSON: `{"<name>": […], "next_cursor": …}`.
fn page(name: &str, rows: &[String], next: Option<String>) -> String {
    format!(r#"{{"{name}":[{}],"next_cursor":{}}}"#, rows.join(","), json!(next))
}
