//! Classifies the errors of the MongoDB driver for the pipeline.

use std::fmt;

use messaging::ledger::{CommitError, StoreError, StoreErrorKind};
use mongodb::bson;
use mongodb::error::{
    ErrorKind, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure,
};

const DUPLICATE_KEY: i32 = 11000;
const WRITE_CONFLICT: i32 = 112;
const NAMESPACE_EXISTS: i32 = 48;
const TRANSACTION_TOO_LARGE_FOR_CACHE: i32 = 388;

/// Codes of errors caused by the data. All other errors are retried, because a statement that is wrong for every
/// message must stop the partition and not dead-letter its messages.
const DATA: [i32; 16] = [
    2,     // BadValue
    14,    // TypeMismatch
    16,    // Overflow
    22,    // InvalidBSON
    28,    // PathNotViable
    52,    // DollarPrefixedFieldName
    53,    // InvalidIdField
    55,    // InvalidDBRef
    56,    // EmptyFieldName
    57,    // DottedFieldName
    66,    // ImmutableField
    121,   // DocumentValidationFailure
    10334, // BSONObjectTooLarge
    17280, // KeyTooLong
    17419, // the document after the update is too large
    17420, // the upserted document is too large
];

/// Codes of errors caused by the infrastructure: those that the driver retries, and those of a short-lived state. Every
/// other code raises an alert while its message waits.
const INFRASTRUCTURE: [i32; 27] = [
    6,     // HostUnreachable
    7,     // HostNotFound
    24,    // LockTimeout
    46,    // LockBusy
    50,    // MaxTimeMSExpired
    64,    // WriteConcernFailed
    89,    // NetworkTimeout
    91,    // ShutdownInProgress
    112,   // WriteConflict
    117,   // ConflictingOperationInProgress
    134,   // ReadConcernMajorityNotAvailableYet
    189,   // PrimarySteppedDown
    225,   // TransactionTooOld
    239,   // SnapshotTooOld
    244,   // TransactionAborted
    246,   // SnapshotUnavailable
    251,   // NoSuchTransaction
    262,   // ExceededTimeLimit
    290,   // TransactionExceededLifetimeLimitSeconds
    9001,  // SocketException
    10107, // NotWritablePrimary
    11600, // InterruptedAtShutdown
    11601, // Interrupted
    11602, // InterruptedDueToReplStateChange
    13388, // StaleConfig
    13435, // NotPrimaryNoSecondaryOk
    13436, // NotPrimaryOrSecondary
];

/// Codes of interrupted commands, which may have taken effect.
const INTERRUPTIONS: [i32; 8] = [
    50,    // MaxTimeMSExpired
    64,    // WriteConcernFailed
    91,    // ShutdownInProgress
    189,   // PrimarySteppedDown
    262,   // ExceededTimeLimit
    11600, // InterruptedAtShutdown
    11601, // Interrupted
    11602, // InterruptedDueToReplStateChange
];

/// An error of the server or the driver. Its text contains codes and index names but never values, because the server's
/// messages repeat the written data, which may be personal.
#[derive(Clone, thiserror::Error)]
pub struct Error(mongodb::error::Error);

impl Error {
    /// Returns the driver's error with the server's message. It must not be logged.
    pub fn details(&self) -> &mongodb::error::Error {
        &self.0
    }

    /// Returns the name of the unique index that was violated.
    pub fn duplicate_index(&self) -> Option<&str> {
        let message = match self.0.kind.as_ref() {
            ErrorKind::Write(WriteFailure::WriteError(error)) => &error.message,
            ErrorKind::InsertMany(failure) => &failure.write_errors.as_ref()?.first()?.message,
            ErrorKind::Command(error) => &error.message,
            _ => return None,
        };
        // E11000 duplicate key error collection: db.users index: email_1 dup key: { … }
        let (_, rest) = message.split_once(" index: ")?;
        rest.split_once(" dup key").map(|(name, _)| name)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (code(&self.0), self.0.kind.as_ref()) {
            (Some(code), kind) => {
                write!(f, "MongoDB returned error {code}")?;
                if let Some(name) = code_name(kind) {
                    write!(f, " ({name})")?;
                }
                match self.duplicate_index() {
                    Some(index) => write!(f, " for the index {index}"),
                    None => Ok(()),
                }
            }
            (None, kind @ (ErrorKind::Io(_) | ErrorKind::ServerSelection { .. } | ErrorKind::Transaction { .. })) => {
                write!(f, "{kind}")
            }
            (None, kind) => {
                // Only the name of the variant.
                let text = format!("{kind:?}");
                let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                write!(f, "the MongoDB driver failed ({name})")
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Classifies the error of a statement.
///
/// A `TransientTransactionError` is `Unavailable`: the whole transaction runs again and reads everything again. A duplicate
/// key is a `Conflict`: the messages are processed one at a time, each with a new read.
pub fn store_error(error: mongodb::error::Error) -> StoreError {
    StoreError::new(kind(&error), Error(error))
}

fn kind(error: &mongodb::error::Error) -> StoreErrorKind {
    if error.contains_label(TRANSIENT_TRANSACTION_ERROR) || error.contains_label(RETRYABLE_WRITE_ERROR) {
        return StoreErrorKind::Unavailable;
    }
    match (code(error), error.kind.as_ref()) {
        (Some(code), _) => kind_of_code(code),
        (None, ErrorKind::InvalidArgument { .. }) => StoreErrorKind::Broken,
        (None, ErrorKind::Bson(error)) => match error.kind {
            bson::error::ErrorKind::Serialization { .. } | bson::error::ErrorKind::TooLargeUnsignedInteger { .. } => {
                StoreErrorKind::Broken
            }
            // A stored document does not have the format that this release expects; the message did not cause this.
            _ => StoreErrorKind::Unexpected,
        },
        (None, ErrorKind::InvalidTlsConfig { .. }) => StoreErrorKind::Unexpected,
        (None, _) => StoreErrorKind::Unavailable,
    }
}

pub(crate) fn kind_of_code(code: i32) -> StoreErrorKind {
    match code {
        // A batch that is too large for one transaction may fit into one transaction per record.
        DUPLICATE_KEY | TRANSACTION_TOO_LARGE_FOR_CACHE => StoreErrorKind::Conflict,
        code if DATA.contains(&code) => StoreErrorKind::Broken,
        code if INFRASTRUCTURE.contains(&code) => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Unexpected,
    }
}

/// Classifies the error of a commit.
pub(crate) fn commit_error(error: mongodb::error::Error) -> CommitError {
    let rejected = matches!(error.kind.as_ref(), ErrorKind::Command(command) if !INTERRUPTIONS.contains(&command.code));
    let unknown =
        error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) || error.contains_label(RETRYABLE_WRITE_ERROR);
    let rolled_back = error.contains_label(TRANSIENT_TRANSACTION_ERROR) || (rejected && !unknown);
    if rolled_back {
        CommitError::RolledBack(store_error(error))
    } else {
        CommitError::Unknown(store_error(error))
    }
}

pub(crate) fn is_duplicate_key(error: &mongodb::error::Error) -> bool {
    code(error) == Some(DUPLICATE_KEY)
}

pub(crate) fn is_write_conflict(error: &mongodb::error::Error) -> bool {
    code(error) == Some(WRITE_CONFLICT)
}

pub(crate) fn already_exists(error: &mongodb::error::Error) -> bool {
    code(error) == Some(NAMESPACE_EXISTS)
}

fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        ErrorKind::InsertMany(failure) => {
            let write = failure.write_errors.iter().flatten().next().map(|error| error.code);
            write.or_else(|| failure.write_concern_error.as_ref().map(|error| error.code))
        }
        _ => None,
    }
}

fn code_name(kind: &ErrorKind) -> Option<&str> {
    match kind {
        ErrorKind::Command(error) => Some(error.code_name.as_str()),
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code_name.as_deref(),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code_name.as_str()),
        ErrorKind::InsertMany(failure) => failure
            .write_errors
            .iter()
            .flatten()
            .next()
            .and_then(|error| error.code_name.as_deref()),
        _ => None,
    }
    .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, deserialize_from_document, doc};
    use mongodb::error::{CommandError, InsertManyError, WriteConcernError};

    use super::*;

    fn command(code: i32) -> mongodb::error::Error {
        let document = doc! { "code": code, "codeName": "SomeName", "errmsg": "value: ada@example.org" };
        let error: CommandError = deserialize_from_document(document).expect("a command error");
        ErrorKind::Command(error).into()
    }

    /// Returns an error with a label. It is of the only kind whose labels can be set from outside the driver.
    fn labelled(label: &str) -> mongodb::error::Error {
        let document = doc! { "code": 64, "errmsg": "", "errorLabels": [label] };
        let error: WriteConcernError = deserialize_from_document(document).expect("a write concern error");
        ErrorKind::Write(WriteFailure::WriteConcernError(error)).into()
    }

    fn insert(response: Document) -> mongodb::error::Error {
        let error: InsertManyError = deserialize_from_document(response).expect("an insert error");
        ErrorKind::InsertMany(error).into()
    }

    fn connection_lost() -> mongodb::error::Error {
        std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
    }

    #[test]
    fn a_write_conflict_runs_the_whole_transaction_again() {
        assert_eq!(
            kind(&labelled(TRANSIENT_TRANSACTION_ERROR)),
            StoreErrorKind::Unavailable
        );
        assert_eq!(kind(&command(WRITE_CONFLICT)), StoreErrorKind::Unavailable);
    }

    #[test]
    fn an_infrastructure_failure_is_unavailable() {
        assert_eq!(kind(&connection_lost()), StoreErrorKind::Unavailable);
        for code in INFRASTRUCTURE {
            assert_eq!(kind(&command(code)), StoreErrorKind::Unavailable, "{code}");
        }
    }

    #[test]
    fn an_error_not_caused_by_a_message_is_unexpected() {
        // Unauthorized, NamespaceNotFound, CommandNotFound, and a code of a later version.
        for code in [13, 26, 59, 999_999] {
            assert_eq!(kind(&command(code)), StoreErrorKind::Unexpected, "{code}");
        }
    }

    #[test]
    fn a_duplicate_key_is_a_conflict_and_names_its_index() {
        let message =
            "E11000 duplicate key error collection: db.people index: email_1 dup key: { email: \"ada@example.org\" }";
        let error = insert(doc! { "writeErrors": [{ "index": 3, "code": 11000, "errmsg": message }] });
        assert_eq!(kind(&error), StoreErrorKind::Conflict);
        let error = Error(error);
        assert_eq!(error.duplicate_index(), Some("email_1"));
        assert_eq!(error.to_string(), "MongoDB returned error 11000 for the index email_1");
    }

    #[test]
    fn a_batch_that_is_too_large_for_a_transaction_is_a_conflict() {
        assert_eq!(
            kind(&command(TRANSACTION_TOO_LARGE_FOR_CACHE)),
            StoreErrorKind::Conflict
        );
    }

    #[test]
    fn data_that_the_server_rejects_is_broken() {
        let error = insert(doc! { "writeErrors": [{ "index": 0, "code": 121, "errmsg": "" }] });
        assert_eq!(kind(&error), StoreErrorKind::Broken);
        assert_eq!(kind(&command(10334)), StoreErrorKind::Broken);
    }

    #[test]
    fn a_value_that_is_not_bson_is_broken_and_a_stored_document_that_cannot_be_read_is_not() {
        let unwritable = bson::serialize_to_document(&std::collections::BTreeMap::from([("number", u64::MAX)]));
        let unwritable = unwritable.expect_err("BSON cannot represent this number");
        assert_eq!(kind(&unwritable.into()), StoreErrorKind::Broken);
        for stored in [doc! { "code": "text" }, doc! {}] {
            let unreadable = deserialize_from_document::<CommandError>(stored).expect_err("not a command error");
            assert_eq!(kind(&unreadable.into()), StoreErrorKind::Unexpected);
        }
    }

    #[test]
    fn error_texts_contain_no_values() {
        assert_eq!(Error(command(2)).to_string(), "MongoDB returned error 2 (SomeName)");
        assert_eq!(
            format!("{:?}", Error(command(2))),
            "MongoDB returned error 2 (SomeName)"
        );
    }

    #[test]
    fn a_commit_is_rolled_back_only_if_the_server_reports_it() {
        let rolled_back = |error| matches!(commit_error(error), CommitError::RolledBack(_));
        assert!(rolled_back(labelled(TRANSIENT_TRANSACTION_ERROR)));
        // The server rejected the commit itself.
        assert!(rolled_back(command(13)));
        assert!(!rolled_back(labelled(UNKNOWN_TRANSACTION_COMMIT_RESULT)));
        assert!(!rolled_back(connection_lost()));
        for code in INTERRUPTIONS {
            assert!(!rolled_back(command(code)), "{code}");
        }
    }
}
