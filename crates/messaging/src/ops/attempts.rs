//! Limits the failed attempts at an ops command.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::error_chain;
use tokio::time::Instant;
use uuid::Uuid;

use crate::consuming::handler::Failure;
use crate::consuming::ops_handler::OpsOutcome;

/// Number of failed attempts after which a command is rejected.
const MAX_FAILED: u32 = 3;
/// Total duration of failed attempts after which a command is rejected, because a query that exceeded its timeout would
/// exceed it again.
const MAX_DURATION: Duration = Duration::from_secs(10);
/// Maximum number of commands whose failures are stored.
const MAX_COMMANDS: usize = 1_000;

/// The failed attempts at recent ops commands, by message id.
///
/// A failure of the infrastructure rolls the transaction back, and the lane applies the command again. Without a limit, a
/// query that always fails would block all later commands. The attempt after the last permitted one executes nothing and
/// only replies, so the reply does not share a transaction with the query.
#[derive(Default)]
pub(super) struct Attempts(Mutex<BTreeMap<Uuid, Failed>>);

/// The failed attempts at one command.
#[derive(Default)]
struct Failed {
    count: u32,
    duration: Duration,
    error: String,
}

/// An attempt. It counts as failed if it is dropped before it [ends](Self::end), because its transaction then exceeded its
/// time limit.
pub(super) struct Attempt<'a> {
    attempts: &'a Attempts,
    command: Uuid,
    began: Instant,
    /// `None` if the attempt did not fail.
    error: Option<String>,
}

impl Attempts {
    /// Begins an attempt at a command.
    ///
    /// # Errors
    /// Returns the last error if the command has failed too often.
    pub(super) fn begin(&self, command: Uuid) -> Result<Attempt<'_>, String> {
        if let Some(failed) = self.failed().get(&command)
            && (failed.count >= MAX_FAILED || failed.duration >= MAX_DURATION)
        {
            return Err(failed.error.clone());
        }
        Ok(Attempt {
            attempts: self,
            command,
            began: Instant::now(),
            error: Some("it did not end within the time limit of a transaction".to_owned()),
        })
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<Uuid, Failed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// Ends the attempt. Only a failure of the infrastructure counts.
    pub(super) fn end(mut self, outcome: &Result<OpsOutcome, Failure>) {
        self.error = match outcome {
            Err(Failure::Retry(error)) => Some(error_chain(error.as_ref())),
            _ => None,
        };
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let Some(error) = self.error.take() else { return };
        let mut commands = self.attempts.failed();
        let failed = commands.entry(self.command).or_default();
        failed.count += 1;
        failed.duration += self.began.elapsed();
        failed.error = error;
        if commands.len() > MAX_COMMANDS {
            // The ids are ordered by time.
            commands.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_exceeds_the_time_limit_is_the_last_one() {
        let (attempts, command) = (Attempts::default(), Uuid::now_v7());
        let attempt = attempts.begin(command).expect("the first attempt");
        tokio::time::advance(MAX_DURATION).await;
        drop(attempt);
        assert!(attempts.begin(command).is_err());
        assert!(attempts.begin(Uuid::now_v7()).is_ok(), "another command");
    }

    #[test]
    fn only_failures_of_the_infrastructure_count() {
        let (attempts, command) = (Attempts::default(), Uuid::now_v7());
        let begin = || attempts.begin(command).expect("no attempt has failed");
        for _ in 0..MAX_FAILED {
            begin().end(&Ok(OpsOutcome::Unhandled));
            begin().end(&Err(Failure::Conflict("a concurrent transaction".into())));
        }
        for _ in 0..MAX_FAILED {
            begin().end(&Err(Failure::retry("the store is down")));
        }
        let error = attempts.begin(command).err();
        assert_eq!(error.as_deref(), Some("the store is down"));
    }
}
