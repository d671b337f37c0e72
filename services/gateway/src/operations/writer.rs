//! Writes what concurrent requests ask for, together: whatever has come in while the last statement ran is one
//! statement. Nobody waits for company.

use std::sync::Arc;

use messaging::Publisher;
use messaging::ledger::{OutboxMessage, OutboxRow};
use postgres::{Postgres, store_error};
use sqlx::PgPool;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::store::operations::{Idempotency, NewOperation, begin};

/// Statements that run at once.
const WRITERS: usize = 2;
/// Operations in one statement, at most.
const BATCH: usize = 128;
/// Operations that wait to be written; more are refused.
const QUEUE: usize = 2_048;

/// What became of a request to write.
pub(super) enum Written {
    New,
    /// An earlier request had this key.
    Repeated(Idempotency),
}

struct Asked {
    new: NewOperation,
    message: OutboxMessage,
    answer: oneshot::Sender<Result<Written, Error>>,
}

/// The requests' end.
pub(super) struct Handle {
    queue: mpsc::Sender<Asked>,
}

pub(super) struct Writer {
    queue: Arc<Mutex<mpsc::Receiver<Asked>>>,
    pool: PgPool,
    publisher: Publisher<Postgres>,
}

impl Handle {
    /// Returns when it is durable, or known to be refused. After [`Error::Store`] it may be there or not.
    pub(super) async fn write(&self, new: NewOperation, message: OutboxMessage) -> Result<Written, Error> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { new, message, answer };
        self.queue.try_send(asked).map_err(|_| Error::Busy)?;
        answered.await.map_err(|_| Error::Busy)?
    }
}

impl Writer {
    pub(super) fn new(pool: PgPool, publisher: Publisher<Postgres>) -> (Handle, Self) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writer = Self {
            queue: Arc::new(Mutex::new(receiver)),
            pool,
            publisher,
        };
        (Handle { queue: sender }, writer)
    }

    pub(super) async fn run(self, stop: CancellationToken) {
        let writers = [(); WRITERS].map(|()| self.write(&stop));
        let [one, two] = writers;
        tokio::join!(one, two);
    }

    async fn write(&self, stop: &CancellationToken) {
        loop {
            let mut batch = Vec::new();
            {
                let mut queue = self.queue.lock().await;
                tokio::select! {
                    biased;
                    count = queue.recv_many(&mut batch, BATCH) => if count == 0 { return },
                    () = stop.cancelled() => return,
                }
            }
            self.write_batch(batch).await;
        }
    }

    async fn write_batch(&self, mut batch: Vec<Asked>) {
        // Two statements that meet at the same keys take them in the same order.
        batch.sort_by(|one, other| order(&one.new).cmp(&order(&other.new)));
        let owner = self.publisher.owner();
        let (asked, answers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|asked| ((asked.new, asked.message), asked.answer))
            .unzip();
        match begin(&self.pool, owner, &asked).await {
            Ok(begun) => {
                let mut rows = Vec::with_capacity(begun.len());
                let mut ids = vec![None; asked.len()];
                for (place, id) in begun {
                    ids[place] = Some(id);
                }
                for (((new, message), answer), id) in asked.into_iter().zip(answers).zip(ids) {
                    let written = match (id, new.idempotency) {
                        (Some(id), _) => {
                            rows.push(OutboxRow { id, owner, message });
                            Ok(Written::New)
                        }
                        (None, Some(idempotency)) => Ok(Written::Repeated(idempotency)),
                        (None, None) => Err(Error::Busy),
                    };
                    // Whoever asked may have gone away: it is written all the same.
                    let _ = answer.send(written);
                }
                self.publisher.hand_over(rows);
            }
            // The server said no, so nothing of it is there. One bad row must not take its neighbours with it.
            Err(sqlx::Error::Database(_)) if asked.len() > 1 => {
                for ((new, message), answer) in asked.into_iter().zip(answers) {
                    let one = Asked { new, message, answer };
                    Box::pin(self.write_batch(vec![one])).await;
                }
            }
            Err(error) => {
                // It may be there after all; then the relay finds it.
                self.publisher.request_sweep();
                let error = Arc::new(store_error(error));
                for answer in answers {
                    let _ = answer.send(Err(Error::Store(Arc::clone(&error))));
                }
            }
        }
    }
}

fn order(new: &NewOperation) -> Option<(&str, &str)> {
    let idempotency = new.idempotency.as_ref()?;
    Some((&idempotency.scope, &idempotency.key))
}
