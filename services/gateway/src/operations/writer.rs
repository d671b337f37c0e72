//! Writes the operations of concurrent requests in batches.
//!
//! All requests that arrive while a statement runs are written by the next statement. No request waits for a batch to fill.

use std::sync::Arc;

use messaging::Publisher;
use messaging::ledger::{OutboxMessage, OutboxRow};
use postgres::{Postgres, store_error};
use sqlx::PgPool;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::store::operations::{Idempotency, NewOperation, insert_batch};

/// Maximum number of concurrent statements.
const WRITERS: usize = 2;
/// Maximum number of operations in one statement.
const BATCH: usize = 128;
/// Maximum number of operations that wait to be written. Further requests are refused.
const QUEUE: usize = 2_048;

/// The result of a write request.
pub(super) enum Written {
    New,
    /// An earlier request used this Idempotency-Key.
    Repeated(Idempotency),
}

struct WriteRequest {
    operation: NewOperation,
    message: OutboxMessage,
    result: oneshot::Sender<Result<Written, Error>>,
}

/// Sends write requests to the writer.
pub(super) struct Handle {
    queue: mpsc::Sender<WriteRequest>,
}

pub(super) struct Writer {
    queue: Arc<Mutex<mpsc::Receiver<WriteRequest>>>,
    pool: PgPool,
    publisher: Publisher<Postgres>,
}

impl Handle {
    /// Writes an operation and its command. Returns when they are durable.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] if the queue is full or the writer has stopped, and [`Error::Store`] if the statement failed.
    /// After [`Error::Store`], the operation may exist or not.
    pub(super) async fn write(&self, operation: NewOperation, message: OutboxMessage) -> Result<Written, Error> {
        let (result, written) = oneshot::channel();
        let request = WriteRequest {
            operation,
            message,
            result,
        };
        self.queue.try_send(request).map_err(|_| Error::Busy)?;
        written.await.map_err(|_| Error::Busy)?
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

    async fn write_batch(&self, mut batch: Vec<WriteRequest>) {
        // Concurrent statements lock the same Idempotency-Keys in the same order, so they cannot deadlock.
        batch.sort_by(|one, other| lock_order(&one.operation).cmp(&lock_order(&other.operation)));
        let owner = self.publisher.owner();
        let (operations, results): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|request| ((request.operation, request.message), request.result))
            .unzip();
        match insert_batch(&self.pool, owner, &operations).await {
            Ok(inserted) => {
                let mut rows = Vec::with_capacity(inserted.len());
                let mut ids = vec![None; operations.len()];
                for (index, id) in inserted {
                    ids[index] = Some(id);
                }
                for (((operation, message), result), id) in operations.into_iter().zip(results).zip(ids) {
                    let written = match (id, operation.idempotency) {
                        (Some(id), _) => {
                            rows.push(OutboxRow { id, owner, message });
                            Ok(Written::New)
                        }
                        (None, Some(idempotency)) => Ok(Written::Repeated(idempotency)),
                        (None, None) => Err(Error::Busy),
                    };
                    // Sending fails if the client has disconnected. The operation is written in any case.
                    let _ = result.send(written);
                }
                self.publisher.hand_over(rows);
            }
            // The server refused the statement, so none of the operations exists. They are written one by one, because one
            // invalid row must not fail the others.
            Err(sqlx::Error::Database(_)) if operations.len() > 1 => {
                for ((operation, message), result) in operations.into_iter().zip(results) {
                    let request = WriteRequest {
                        operation,
                        message,
                        result,
                    };
                    Box::pin(self.write_batch(vec![request])).await;
                }
            }
            Err(error) => {
                // The statement may have taken effect. Then the sweep of the relay finds the messages.
                self.publisher.request_sweep();
                let error = Arc::new(store_error(error));
                for result in results {
                    let _ = result.send(Err(Error::Store(Arc::clone(&error))));
                }
            }
        }
    }
}

/// Returns the columns of the unique index on Idempotency-Keys.
fn lock_order(operation: &NewOperation) -> Option<(&str, &str)> {
    let idempotency = operation.idempotency.as_ref()?;
    Some((&idempotency.scope, &idempotency.key))
}
