//! Requests for a new password. They are processed after the response, so neither the response nor its time reveals
//! whether the account exists.

use chassis::error_chain;
use contracts::links::Purpose;
use messaging::{Cause, Publisher, Unit};
use postgres::Postgres;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::links::{link, mail};
use crate::operations::GATEWAY;
use crate::security::request_cause;
use crate::store::{accounts, links};

/// Maximum number of requests that wait to be processed. Further requests are refused.
const QUEUE: usize = 1_024;

/// Accepts requests for a new password. Cheap to clone.
#[derive(Clone)]
pub struct PasswordResets(mpsc::Sender<(String, Cause)>);

/// Processes the requests: reads the account and publishes the command that sends a link by e-mail.
pub struct PasswordResetTask {
    queue: mpsc::Receiver<(String, Cause)>,
    ledger: Postgres,
    publisher: Publisher<Postgres>,
}

impl PasswordResets {
    pub fn new(ledger: Postgres, publisher: Publisher<Postgres>) -> (Self, PasswordResetTask) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let task = PasswordResetTask {
            queue,
            ledger,
            publisher,
        };
        (Self(sender), task)
    }

    /// Has a link sent to this address if it belongs to an account.
    ///
    /// The request is kept in memory only, because it may hold an address without an account. If the process dies before
    /// the link is sent, the user must send the request again.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] if the queue is full.
    pub fn request(&self, email: String) -> Result<(), Error> {
        let queued = self.0.try_send((email, request_cause(GATEWAY)));
        queued.map_err(|_| Error::Busy)
    }
}

impl PasswordResetTask {
    /// Runs until `stop`. Requests that are in the queue at that time are still processed.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let request = tokio::select! {
                biased;
                request = self.queue.recv() => request,
                () = stop.cancelled() => None,
            };
            let Some((email, cause)) = request else { return };
            if let Err(error) = self.process(&email, &cause).await {
                let error = error_chain(&error);
                tracing::warn!(
                    error,
                    "cannot send a link for a new password; the user must request it again: {error}"
                );
            }
        }
    }

    async fn process(&self, email: &str, cause: &Cause) -> Result<(), Error> {
        let account = accounts::by_email(self.ledger.pool(), email).await?;
        let Some(account) = account.filter(|account| account.is_open) else {
            return Ok(());
        };
        let link = link(Purpose::ResetPassword, account.user_id);
        let mut unit = Unit::begin(&self.ledger, &self.publisher).await?;
        links::add(unit.tx(), &[(Purpose::ResetPassword, link)]).await?;
        unit.publish(cause, mail(Purpose::ResetPassword, &link))?;
        unit.commit().await?;
        Ok(())
    }
}
