//! Reads the events of concurrent requests in batches, because every write of an event reads the event for its response.
//!
//! All requests that arrive while a statement runs are read by the next statement. No request waits for a batch to fill.

use std::sync::Arc;

use sqlx::PgPool;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::Error;
use crate::store::events::{Event, find_all};
use crate::store::viewer::Viewer;

/// Maximum number of concurrent statements.
const READERS: usize = 2;
/// Maximum number of events in one statement.
const BATCH: usize = 128;
/// Maximum number of requests that wait. Further requests are refused.
const QUEUE: usize = 2_048;

/// Reads single events. Cheap to clone.
#[derive(Clone)]
pub struct EventReads {
    queue: mpsc::Sender<Request>,
}

struct Request {
    id: Uuid,
    viewer: Viewer,
    result: oneshot::Sender<sqlx::Result<Option<Event>>>,
}

/// Executes the statements.
pub struct EventReader {
    queue: Arc<Mutex<mpsc::Receiver<Request>>>,
    pool: PgPool,
}

impl EventReads {
    pub fn new(pool: PgPool) -> (Self, EventReader) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let reader = EventReader {
            queue: Arc::new(Mutex::new(receiver)),
            pool,
        };
        (Self { queue: sender }, reader)
    }

    /// Returns the event, or `None` if it does not exist or `viewer` may not see it.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] if the queue is full or the reader has stopped, and [`Error::Store`] if the statement failed.
    pub async fn find(&self, id: Uuid, viewer: Viewer) -> Result<Option<Event>, Error> {
        let (result, read) = oneshot::channel();
        let request = Request { id, viewer, result };
        self.queue.try_send(request).map_err(|_| Error::Busy)?;
        Ok(read.await.map_err(|_| Error::Busy)??)
    }
}

impl EventReader {
    /// Runs until `stop`. Requests that are in the queue at that time are still processed.
    pub async fn run(self, stop: CancellationToken) {
        let readers = [(); READERS].map(|()| self.read(&stop));
        let [one, two] = readers;
        tokio::join!(one, two);
    }

    async fn read(&self, stop: &CancellationToken) {
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
            self.read_batch(batch).await;
        }
    }

    async fn read_batch(&self, batch: Vec<Request>) {
        let requests: Vec<_> = batch.iter().map(|request| (request.id, request.viewer)).collect();
        match find_all(&self.pool, &requests).await {
            Ok(events) => {
                for (request, event) in batch.into_iter().zip(events) {
                    // Sending fails if the client has disconnected.
                    let _ = request.result.send(Ok(event));
                }
            }
            // One row that cannot be read must not fail the others.
            Err(_) if batch.len() > 1 => {
                for request in batch {
                    Box::pin(self.read_batch(vec![request])).await;
                }
            }
            Err(error) => {
                if let Some(request) = batch.into_iter().next() {
                    let _ = request.result.send(Err(error));
                }
            }
        }
    }
}
