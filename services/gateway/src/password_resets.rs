//! Who has forgotten a password. What is done for them is done after they were answered: neither the answer nor its
//! time tells whether there is such an account.

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

/// E-mails that wait to be looked up; more are refused.
const QUEUE: usize = 1_024;

/// Takes e-mails. Cheap to clone.
#[derive(Clone)]
pub struct PasswordResets(mpsc::Sender<(String, Cause)>);

/// Looks them up, and has links mailed.
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

    /// Has a link mailed to this address, if it is an account's. Who is not mailed one asks again: that a process
    /// dies in between is no reason to keep addresses that may be nobody's.
    pub fn request(&self, email: String) -> Result<(), Error> {
        let asked = self.0.try_send((email, request_cause(GATEWAY)));
        asked.map_err(|_| Error::Busy)
    }
}

impl PasswordResetTask {
    /// Runs until `stop`. What was asked before is done.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let asked = tokio::select! {
                biased;
                asked = self.queue.recv() => asked,
                () = stop.cancelled() => None,
            };
            let Some((email, cause)) = asked else { return };
            if let Err(error) = self.mail(&email, &cause).await {
                let error = error_chain(&error);
                tracing::warn!(
                    error,
                    "a link for a new password was not mailed: who asked has to ask again"
                );
            }
        }
    }

    async fn mail(&self, email: &str, cause: &Cause) -> Result<(), Error> {
        let known = accounts::by_email(self.ledger.pool(), email).await?;
        let Some(known) = known.filter(|known| known.is_open) else {
            return Ok(());
        };
        let link = link(Purpose::ResetPassword, known.user_id);
        let mut unit = Unit::begin(&self.ledger, &self.publisher).await?;
        links::add(unit.tx(), &[(Purpose::ResetPassword, link)]).await?;
        unit.publish(cause, mail(Purpose::ResetPassword, &link))?;
        unit.commit().await?;
        Ok(())
    }
}
