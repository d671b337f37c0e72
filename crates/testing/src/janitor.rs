//! A thread with a separate runtime, for work that outlives a test's runtime, such as dropping databases.

use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;

use tokio::sync::{mpsc, oneshot};

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

// One per test process: all tests share its connections, which outlive each test.
static JOBS: LazyLock<mpsc::UnboundedSender<Job>> = LazyLock::new(|| {
    let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
    std::thread::Builder::new()
        .name("janitor".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("cannot create a runtime");
            runtime.block_on(async move {
                while let Some(job) = jobs.recv().await {
                    tokio::spawn(job);
                }
            });
        })
        .expect("cannot start a thread");
    sender
});

/// Runs `work` on the janitor's runtime.
pub(crate) async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    start(work).await.expect("the janitor's work does not panic")
}

/// Runs `work` on the janitor's runtime, and blocks this thread until it ends, for use in `Drop`.
pub(crate) fn run_blocking(work: impl Future<Output = ()> + Send + 'static) {
    let (sender, done) = std::sync::mpsc::channel();
    drop(start(async move {
        work.await;
        // Fails only if the test process is ending.
        let _ = sender.send(());
    }));
    // A panic of the work is printed by the janitor's thread.
    let _ = done.recv();
}

fn start<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> oneshot::Receiver<T> {
    let (sender, result) = oneshot::channel();
    let job = async move {
        let _ = sender.send(work.await);
    };
    JOBS.send(Box::pin(job))
        .expect("the janitor runs as long as the process");
    result
}
