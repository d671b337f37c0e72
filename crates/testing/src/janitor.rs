//! A thread with a runtime of its own, for what has to be done when a test's runtime is gone: dropping databases.

use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;

use tokio::sync::{mpsc, oneshot};

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

// One a test process: its connections are shared by all tests, and outlive each of them.
static JOBS: LazyLock<mpsc::UnboundedSender<Job>> = LazyLock::new(|| {
    let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
    std::thread::Builder::new()
        .name("janitor".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a test process can have a runtime");
            runtime.block_on(async move {
                while let Some(job) = jobs.recv().await {
                    tokio::spawn(job);
                }
            });
        })
        .expect("a test process can have a thread");
    sender
});

/// Runs `work` on the janitor's runtime.
pub(crate) async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    start(work).await.expect("the janitor's work does not panic")
}

/// The same from `Drop`: blocks this thread.
pub(crate) fn run_blocking(work: impl Future<Output = ()> + Send + 'static) {
    let (sender, done) = std::sync::mpsc::channel();
    drop(start(async move {
        work.await;
        // Nobody waits any more only if the test process ends.
        let _ = sender.send(());
    }));
    // A panic of the work is printed by its own thread; a test that drops something has nothing to add.
    let _ = done.recv();
}

fn start<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> oneshot::Receiver<T> {
    let (sender, result) = oneshot::channel();
    let job = async move {
        let _ = sender.send(work.await);
    };
    JOBS.send(Box::pin(job))
        .expect("the janitor works as long as the process");
    result
}
