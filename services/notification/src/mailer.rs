//! Works mails off: two lanes of senders, and one recorder that writes what came of them.

mod attempt;
mod breaker;
mod recorder;
mod truth;

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
use self::breaker::{Breaker, Pass};
use crate::copies::Copies;
use crate::lane::{Lane, Lanes};
use crate::letter::Letters;
use crate::mail::Mail;
use crate::mail::queue;
use crate::metrics::Metrics;
use crate::server::MailServer;

/// What came of mails, on the way to the recorder.
const RESULTS: usize = 256;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Sends what is due, for one process. Several may run: a mail is claimed before it is sent.
pub struct Mailer<S>(Arc<Shared<S>>);

/// How many, how often, how long.
#[derive(Debug, Clone)]
pub struct Working {
    /// Letters that are sent at a time, in each lane.
    pub senders: usize,
    /// Before the second attempt after a temporary refusal; then twice as long each time.
    pub first_wait: Duration,
    pub longest_wait: Duration,
    /// Before something that is missing is looked for again, should its arrival go unnoticed; then twice as
    /// long each time.
    pub first_look: Duration,
    pub longest_look: Duration,
    /// A mail that has been tried for longer is given up. What was never tried is never given up.
    pub give_up: Duration,
    /// For a whole letter, from the connection to the last answer.
    pub letter: Duration,
    /// For how long a process claims a mail. Longer than `letter`: none is handed over whose claim could run out
    /// meanwhile.
    pub claim: Duration,
    /// How long who let a claim run out has left to write what became of the mail. Longer than
    /// the pauses between attempts at that.
    pub grace: Duration,
    /// How often a lane looks for mails that nobody woke it for: another process's.
    pub scan: Duration,
}

impl Default for Working {
    fn default() -> Self {
        Self {
            senders: 4,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(15 * 60),
            first_look: Duration::from_millis(250),
            longest_look: Duration::from_secs(60),
            give_up: Duration::from_secs(24 * 60 * 60),
            letter: Duration::from_secs(30),
            claim: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            scan: Duration::from_secs(5),
        }
    }
}

struct Shared<S> {
    mongo: Mongo,
    publisher: Publisher<Mongo>,
    letters: Letters,
    server: S,
    lanes: Lanes,
    breaker: Arc<Breaker>,
    metrics: Metrics,
    working: Working,
}

/// What a lane does next.
enum Next {
    GoOn,
    /// Nothing is due for so long.
    Wait(Duration),
}

impl<S: MailServer> Mailer<S> {
    pub fn new(
        mongo: Mongo,
        publisher: Publisher<Mongo>,
        letters: Letters,
        server: S,
        lanes: Lanes,
        metrics: Metrics,
        working: Working,
    ) -> Self {
        Self(Arc::new(Shared {
            breaker: Breaker::new(working.first_wait, metrics.reachable.clone()),
            mongo,
            publisher,
            letters,
            server,
            lanes,
            metrics,
            working,
        }))
    }

    /// Sends until `stop`; returns when what was under way is recorded.
    pub async fn run(self, stop: CancellationToken) {
        let (results, attempts) = mpsc::channel(RESULTS);
        let lanes = Lane::ALL.map(|lane| Arc::clone(&self.0).work_off(lane, results.clone(), stop.clone()));
        drop(results);
        let recorder = recorder::run(&self.0, attempts, stop);
        tokio::join!(join_all(lanes), recorder);
    }
}

impl<S: MailServer> Shared<S> {
    async fn work_off(self: Arc<Self>, lane: Lane, results: mpsc::Sender<Attempt>, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.working.senders));
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                slot = slots.acquire() => drop(slot),
            }
            // Not cut short: what is claimed is sent.
            let next = self.turn(lane, &slots, &results, &stop).await;
            let wait = match next {
                Ok(Next::GoOn) => {
                    pause = FIRST_PAUSE;
                    continue;
                }
                Ok(Next::Wait(wait)) => wait.min(self.working.scan),
                Err(error) => {
                    tracing::warn!(
                        lane = lane.name(),
                        error = error_chain(&error),
                        "mails wait for the store"
                    );
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    pause
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.lanes.get(lane).notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        // Letters under way are waited for: each takes no longer than the server's time limit.
        let all = u32::try_from(self.working.senders).unwrap_or(u32::MAX);
        drop(slots.acquire_many(all).await);
    }

    /// Takes as many due mails in hand as there are free slots.
    async fn turn(
        self: &Arc<Self>,
        lane: Lane,
        slots: &Arc<Semaphore>,
        results: &mpsc::Sender<Attempt>,
        stop: &CancellationToken,
    ) -> Result<Next, StoreError> {
        let room = slots.available_permits();
        let due = queue::due(&self.mongo, lane, room + 1).await?;
        if !due.abandoned.is_empty() {
            queue::release(&self.mongo, &due.abandoned, self.working.grace).await?;
            return Ok(Next::GoOn);
        }
        let (old, due_now): (Vec<_>, Vec<_>) = due
            .mails
            .into_iter()
            .partition(|(_, tried)| *tried >= self.working.give_up);
        if !old.is_empty() {
            self.give_up(&ids(&old), results).await?;
            return Ok(Next::GoOn);
        }
        if due_now.is_empty() {
            return Ok(Next::Wait(due.next.unwrap_or(self.working.scan)));
        }
        let pass = tokio::select! {
            pass = self.breaker.pass() => pass,
            // While the server is away, old mails are still given up.
            () = tokio::time::sleep(self.working.scan) => return Ok(Next::GoOn),
            () = stop.cancelled() => return Ok(Next::GoOn),
        };
        let limit = if pass.is_probe() { 1 } else { room };
        let ids = ids(&due_now[..due_now.len().min(limit)]);
        let claimed = Instant::now();
        let mails = queue::claim(&self.mongo, &ids, self.working.claim).await?;
        self.send_all(mails, claimed, pass, slots, results).await;
        Ok(Next::GoOn)
    }

    async fn give_up(&self, ids: &[bson::Uuid], results: &mpsc::Sender<Attempt>) -> Result<(), StoreError> {
        let claimed = Instant::now();
        for mail in queue::claim(&self.mongo, ids, self.working.claim).await? {
            let attempt = Attempt {
                trace: mail.trace(),
                claimed,
                outcome: Outcome::Failed("given up: it could not be sent in time".to_owned()),
                mail,
            };
            hand_over(attempt, results).await;
        }
        Ok(())
    }

    async fn send_all(
        self: &Arc<Self>,
        mails: Vec<Mail>,
        claimed: Instant,
        pass: Pass,
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
                    hand_over(attempt, results).await;
                }
                return;
            }
        };
        let mut pass = Some(pass);
        for mail in mails {
            let slot = Arc::clone(slots)
                .acquire_owned()
                .await
                .expect("the slots are never closed");
            let pass = match pass.take() {
                Some(first) if first.is_probe() => first,
                Some(first) => {
                    let another = first.another();
                    pass = Some(first);
                    another
                }
                // A probe claims one mail.
                None => return,
            };
            let (shared, copies, results) = (Arc::clone(self), Arc::clone(&copies), results.clone());
            tokio::spawn(async move {
                let attempt = shared.attempt(mail, claimed, &copies, pass).await;
                hand_over(attempt, &results).await;
                drop(slot);
            });
        }
    }
}

/// Nothing is lost where the recorder is gone: the claim runs out.
async fn hand_over(attempt: Attempt, results: &mpsc::Sender<Attempt>) {
    let _ = results.send(attempt).await;
}

fn ids(mails: &[(bson::Uuid, Duration)]) -> Vec<bson::Uuid> {
    mails.iter().map(|(id, _)| *id).collect()
}
