//! Answers questions to the log, from the log as it is with the question in it.

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

/// Rows on a page, at most.
pub const LONGEST_PAGE: i32 = 200;
/// Entries that are read at once, at most.
const LONGEST_READ: i32 = 1_000;
/// Bytes that a result may have. What else is in a reply takes far less than the rest.
const ROOM: usize = MAX_VALUE_BYTES - 4 * 1024;
/// A question that takes longer holds up the ones behind it, so it is refused.
const PATIENCE: Duration = Duration::from_secs(5);
/// MongoDB's MaxTimeMSExpired.
const TOO_SLOW: i32 = 50;

/// `audit.queries`: answers each question with JSON.
pub(crate) struct Answers;

/// Why a question is not answered.
#[derive(Debug)]
enum Unanswered {
    /// The question is at fault, and the transaction is not.
    Rejected(Rejection),
    /// The transaction can't go on.
    Failed(Failure),
}

impl Handler<Mongo> for Answers {
    type Message = AuditQuery;

    async fn handle(&mut self, unit: &mut Unit<Mongo>, messages: &[&Received<AuditQuery>]) -> Result<(), Failure> {
        for message in messages {
            match answer(unit.tx(), &message.body).await {
                Ok(result) => {
                    let accepted = CommandAccepted {
                        command_id: message.envelope.id,
                        version: 0,
                        effects: Vec::new(),
                        result: Some(result),
                    };
                    unit.accept(message, accepted)?;
                }
                Err(Unanswered::Rejected(rejected)) => unit.reject(message, &rejected)?,
                Err(Unanswered::Failed(failure)) => return Err(failure),
            }
        }
        Ok(())
    }
}

async fn answer(tx: &mut Tx, question: &AuditQuery) -> Result<String, Unanswered> {
    match question {
        AuditQuery::FindAuditEntries(question) => entries::find(tx, question).await,
        AuditQuery::ProveAuditEntry(question) => proof::prove(tx, question).await,
        AuditQuery::FindCheckpoints(question) => checkpoints::find_checkpoints(tx, question).await,
        AuditQuery::FindCertificates(question) => checkpoints::find_certificates(tx, question).await,
        AuditQuery::ReadAuditLog(question) => reading::read(tx, question).await,
        AuditQuery::VerifyAuditLog(question) => verification::verify(tx, question).await,
    }
}

impl From<Rejection> for Unanswered {
    fn from(rejected: Rejection) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<StoreError> for Unanswered {
    /// A document that cannot be read waits for nothing, because the question would hold up the ones behind it.
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::Unexpected => {
                tracing::error!(
                    error = error_chain(&error),
                    "a question is rejected, because the log cannot be read"
                );
                Self::Failed(Failure::Reject(unreadable()))
            }
            _ => Self::Failed(error.into()),
        }
    }
}

/// What a statement with [`PATIENCE`] failed with. One that ran out of it has ended the transaction too.
fn failure(error: mongodb::error::Error) -> Unanswered {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::Command(command) if command.code == TOO_SLOW => {
            Unanswered::Failed(Failure::Reject(Rejection::new(
                "too-slow",
                "Too many entries would have to be looked at: narrow the question.",
            )))
        }
        _ => store_error(error).into(),
    }
}

/// The transaction may have ended, so the question is rejected in another one.
fn unreadable() -> Rejection {
    Rejection::new("log-damaged", "The log can't be read where it must be: verify the log.")
}

/// The store is not as this service left it.
fn damaged() -> Unanswered {
    Rejection::new(
        "log-damaged",
        "The log's tree can't be read where it must be: verify the log.",
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
    invalid("cursor", "must be one that a page ended with")
}

/// Nothing, where no field is at fault.
fn all_valid(errors: Vec<FieldError>) -> Result<(), Rejection> {
    if errors.is_empty() {
        return Ok(());
    }
    let mut rejected = Rejection::new("invalid", "The question can't be asked like this.");
    rejected.errors = errors;
    Err(rejected)
}

/// As many rows as there is room for, and one at least.
fn fitting(rows: impl Iterator<Item = String>, room: usize) -> Vec<String> {
    let mut size = 0;
    let fits = |row: &String| {
        let is_first = size == 0;
        size += row.len() + 1;
        size <= room || is_first
    };
    rows.take_while(fits).collect()
}

/// `{"<name>": […], "next_cursor": …}`.
fn page(name: &str, rows: &[String], next: Option<String>) -> String {
    format!(r#"{{"{name}":[{}],"next_cursor":{}}}"#, rows.join(","), json!(next))
}
