//! Sends queued e-mails: two mail queues of senders, and one recorder that stores the outcomes.

mod attempt;
mod breaker;
mod precheck;
mod recorder;

use std::sync::Arc;
use std::time::Duration;

use chassis::error_chain;
use futures::future::join_all;
use messaging::Publisher;
use messaging::ledger::StoreError;
use mongo::Mongo;
use mongodb::bson;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::attempt::{Attempt, Outcome};
use self::breaker::{Breaker, Permit};
use crate::copies::Copies;
use crate::mail::Mail;
use crate::mail::queue;
use crate::mail_queue::{MailQueue, MailQueues};
use crate::metrics::Metrics;
use crate::server::MailServer;
use crate::templates::Templates;

/// Capacity of the channel of attempts from the senders to the recorder.
const RESULT_QUEUE: usize = 256;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Sends due e-mails. Several processes may each run one, because an e-mail is claimed before it is sent.
pub struct Mailer<S>(Arc<Shared<S>>);

/// The concurrency, delays and timeouts of a [`Mailer`].
#[derive(Debug, Clone)]
pub struct MailerSettings {
    /// Number of e-mails that are sent concurrently in each mail queue.
    pub senders: usize,
    /// Delay before the second attempt after a temporary rejection. It doubles with each further rejection.
    pub initial_retry_delay: Duration,
    /// Maximum delay before an attempt after a temporary rejection.
    pub max_retry_delay: Duration,
    /// Delay before an e-mail with missing data is checked again, in case the arrival of the data goes unnoticed. It
    /// doubles with each further check.
    pub initial_recheck_delay: Duration,
    /// Maximum delay before an e-mail with missing data is checked again.
    pub max_recheck_delay: Duration,
    /// Time from the first attempt after which an e-mail fails for good. An e-mail that was never tried does not fail.
    pub max_retry_time: Duration,
    /// Timeout for sending one e-mail, from the connection to the last response.
    pub send_timeout: Duration,
    /// Time for which a process claims an e-mail. It must be longer than `send_timeout`, because no e-mail is sent
    /// whose claim could expire meanwhile.
    pub claim_duration: Duration,
    /// Time that a process has to record an outcome after its claim has expired. It must be longer than the pauses between
    /// attempts to record.
    pub release_grace: Duration,
    /// Interval at which a mail queue scans for due e-mails that it was not notified of, because another process enqueued
    /// them.
    pub scan_interval: Duration,
}

impl Default for MailerSettings {
    fn default() -> Self {
        Self {
            senders: 4,
            initial_retry_delay: Duration::from_secs(1),
            max_retry_delay: Duration::from_secs(15 * 60),
            initial_recheck_delay: Duration::from_millis(250),
            max_recheck_delay: Duration::from_secs(60),
            max_retry_time: Duration::from_secs(24 * 60 * 60),
            send_timeout: Duration::from_secs(30),
            claim_duration: Duration::from_secs(60),
            release_grace: Duration::from_secs(10),
            scan_interval: Duration::from_secs(5),
        }
    }
}

struct Shared<S> {
    mongo: Mongo,
    publisher: Publisher<Mongo>,
    templates: Templates,
    server: S,
    mail_queues: MailQueues,
    breaker: Arc<Breaker>,
    metrics: Metrics,
    settings: MailerSettings,
}

/// The next step of a mail queue.
enum Next {
    Continue,
    /// No e-mail is due for this time.
    Wait(Duration),
}

impl<S: MailServer> Mailer<S> {
    pub fn new(
        mongo: Mongo,
        publisher: Publisher<Mongo>,
        templates: Templates,
        server: S,
        mail_queues: MailQueues,
        metrics: Metrics,
        settings: MailerSettings,
    ) -> Self {
        Self(Arc::new(Shared {
            breaker: Breaker::new(settings.initial_retry_delay, metrics.reachable.clone()),
            mongo,
            publisher,
            templates,
            server,
            mail_queues,
            metrics,
            settings,
        }))
    }

    /// Sends e-mails until `stop`. Returns when the outcomes of all e-mails in flight are recorded.
    pub async fn run(self, stop: CancellationToken) {
        let (results, attempts) = mpsc::channel(RESULT_QUEUE);
        let mail_queues =
            MailQueue::ALL.map(|mail_queue| Arc::clone(&self.0).run_queue(mail_queue, results.clone(), stop.clone()));
        drop(results);
        let recorder = recorder::run(&self.0, attempts, stop);
        tokio::join!(join_all(mail_queues), recorder);
    }
}

impl<S: MailServer> Shared<S> {
    async fn run_queue(
        self: Arc<Self>,
        mail_queue: MailQueue,
        results: mpsc::Sender<Attempt>,
        stop: CancellationToken,
    ) {
        let slots = Arc::new(Semaphore::new(self.settings.senders));
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                slot = slots.acquire() => drop(slot),
            }
            // Not cancelled by `stop`, because claimed e-mails are to be sent.
            let next = self.send_due(mail_queue, &slots, &results, &stop).await;
            let wait = match next {
                Ok(Next::Continue) => {
                    pause = FIRST_PAUSE;
                    continue;
                }
                Ok(Next::Wait(wait)) => wait.min(self.settings.scan_interval),
                Err(error) => {
                    tracing::warn!(
                        mail_queue = mail_queue.name(),
                        error = error_chain(&error),
                        "cannot read due e-mails from the store; retrying"
                    );
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    pause
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.mail_queues.get(mail_queue).notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        // Wait for the e-mails in flight. Each takes no longer than `send_timeout`.
        let all = u32::try_from(self.settings.senders).unwrap_or(u32::MAX);
        drop(slots.acquire_many(all).await);
    }

    /// Claims as many due e-mails as there are free slots and starts to send them.
    async fn send_due(
        self: &Arc<Self>,
        mail_queue: MailQueue,
        slots: &Arc<Semaphore>,
        results: &mpsc::Sender<Attempt>,
        stop: &CancellationToken,
    ) -> Result<Next, StoreError> {
        let free = slots.available_permits();
        let due = queue::find_due(&self.mongo, mail_queue, free + 1).await?;
        if !due.expired.is_empty() {
            queue::release_expired_claims(&self.mongo, &due.expired, self.settings.release_grace).await?;
            return Ok(Next::Continue);
        }
        let (old, due_now): (Vec<_>, Vec<_>) = due
            .mails
            .into_iter()
            .partition(|(_, tried)| *tried >= self.settings.max_retry_time);
        if !old.is_empty() {
            self.fail_overdue(&ids(&old), results).await?;
            return Ok(Next::Continue);
        }
        if due_now.is_empty() {
            return Ok(Next::Wait(due.next.unwrap_or(self.settings.scan_interval)));
        }
        let permit = tokio::select! {
            permit = self.breaker.acquire() => permit,
            // Overdue e-mails fail even while the server is unreachable.
            () = tokio::time::sleep(self.settings.scan_interval) => return Ok(Next::Continue),
            () = stop.cancelled() => return Ok(Next::Continue),
        };
        let limit = if permit.is_probe() { 1 } else { free };
        let ids = ids(&due_now[..due_now.len().min(limit)]);
        let claimed = Instant::now();
        let mails = queue::claim(&self.mongo, &ids, self.settings.claim_duration).await?;
        self.send_all(mails, claimed, permit, slots, results).await;
        Ok(Next::Continue)
    }

    /// Fails e-mails that have been tried for longer than `max_retry_time`.
    async fn fail_overdue(&self, ids: &[bson::Uuid], results: &mpsc::Sender<Attempt>) -> Result<(), StoreError> {
        let claimed = Instant::now();
        for mail in queue::claim(&self.mongo, ids, self.settings.claim_duration).await? {
            let attempt = Attempt {
                trace: mail.trace(),
                claimed,
                outcome: Outcome::Failed("not sent within the maximum retry time".to_owned()),
                mail,
            };
            submit(attempt, results).await;
        }
        Ok(())
    }

    async fn send_all(
        self: &Arc<Self>,
        mails: Vec<Mail>,
        claimed: Instant,
        permit: Permit,
        slots: &Arc<Semaphore>,
        results: &mpsc::Sender<Attempt>,
    ) {
        let copies = match Copies::load(&self.mongo, &mails).await {
            Ok(copies) => Arc::new(copies),
            Err(error) => {
                for mail in mails {
                    let attempt = Attempt {
                        trace: mail.trace(),
                        claimed,
                        outcome: Outcome::Released(error_chain(&error)),
                        mail,
                    };
                    submit(attempt, results).await;
                }
                return;
            }
        };
        let mut permit = Some(permit);
        for mail in mails {
            let slot = Arc::clone(slots)
                .acquire_owned()
                .await
                .expect("the slots are never closed");
            let permit = match permit.take() {
                Some(first) if first.is_probe() => first,
                Some(first) => {
                    let next = first.another();
                    permit = Some(first);
                    next
                }
                // A probe sends only one e-mail.
                None => return,
            };
            let (shared, copies, results) = (Arc::clone(self), Arc::clone(&copies), results.clone());
            tokio::spawn(async move {
                let attempt = shared.attempt(mail, claimed, &copies, permit).await;
                submit(attempt, &results).await;
                drop(slot);
            });
        }
    }
}

/// Passes an attempt to the recorder. If the recorder has ended, the e-mail is not lost, because its claim expires.
async fn submit(attempt: Attempt, results: &mpsc::Sender<Attempt>) {
    let _ = results.send(attempt).await;
}

fn ids(mails: &[(bson::Uuid, Duration)]) -> Vec<bson::Uuid> {
    mails.iter().map(|(id, _)| *id).collect()
}
