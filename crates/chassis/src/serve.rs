//! Serves a router over HTTP/1.1 on a listener, with limits on what a client may hold open.
//!
//! Both the admin port and the gateway's public port are served here, because `axum::serve` sets no limits: a client
//! that sends nothing, or half of a header, would hold its connection and its buffers for as long as it likes.

mod admission;
mod connection;

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use admission::Admission;
use connection::Stops;

/// What a client may hold open. The defaults suit a public port; tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a request's header may take, from the connection's start, or from the first byte on a connection that
    /// was idle. 10 s is enough for the slowest network; each byte that arrives in between extends nothing.
    pub header: Duration,
    /// How long a connection may wait for its next request. 60 s, as reverse proxies keep theirs.
    pub idle: Duration,
    /// How long a client may read nothing of a response that is ready to be sent. 30 s, as long as a request may take.
    pub write: Duration,
    /// How long the responses in flight have when the server stops. 10 s, because it must be less than the share of
    /// `SHUTDOWN_TIMEOUT_MS` that inputs may use.
    pub drain: Duration,
    /// Maximum size of a request's header, in bytes; also of what is buffered of a response. 64 KiB is eight times
    /// what browsers and proxies send.
    pub buffer: usize,
    /// Maximum number of open connections.
    pub connections: usize,
    /// Maximum number of open connections of one client address.
    pub connections_per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            write: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            buffer: 64 * 1024,
            // Together with the connections to the servers, fewer than the 1,024 files that a process may usually open.
            connections: 800,
            connections_per_address: 400,
        }
    }
}

/// How long no connection is accepted after the system has refused to open one.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves `router` until `stop` completes, and then drains.
///
/// A connection over a maximum is closed at once and without a response, because a response would cost what the maximum
/// protects. `counted` returns the address that a client's connections are counted under, or `None` if they count
/// towards [`Limits::connections`] only. Each request has an `axum::extract::ConnectInfo<SocketAddr>`.
///
/// The drain closes connections that hold no complete request at once. Responses in flight have [`Limits::drain`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    counted: impl Fn(IpAddr) -> Option<IpAddr> + Send,
    stop: impl Future<Output = ()> + Send,
) {
    let admission = Arc::new(Admission::new(limits.connections, limits.connections_per_address));
    let connections = TaskTracker::new();
    let (drain, end) = (CancellationToken::new(), CancellationToken::new());
    // Ends the connections too if this future is dropped.
    let _end = end.clone().drop_guard();
    let mut stop = pin!(stop);
    let mut reports = interval(admission::LOG_EVERY);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            _ = reports.tick() => {
                log(&admission);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                // The connection stays in the queue of the system, so that to accept again at once would be a busy loop.
                tracing::error!(%error, "no connection can be accepted for {ACCEPT_PAUSE:?}: {error}");
                tokio::select! {
                    biased;
                    () = &mut stop => break,
                    () = sleep(ACCEPT_PAUSE) => continue,
                }
            }
        };
        let place = match Admission::enter(&admission, counted(peer.ip())) {
            Ok(place) => place,
            Err(_) => {
                log(&admission);
                continue;
            }
        };
        send_at_once(&stream);
        let stops = Stops {
            drain: drain.clone(),
            end: end.clone(),
        };
        let connection = connection::serve(stream, peer, router.clone(), limits, stops);
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    drain.cancel();
    connections.close();
    if timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "connections are closed before their responses were sent: {} took longer than {:?}",
            connections.len(),
            limits.drain,
        );
        end.cancel();
        connections.wait().await;
    }
}

/// Returns `true` if an error of `accept` is about the connection that was to be accepted, and not about this process.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

/// Responses are small, and waiting to fill a segment costs 40 ms.
fn send_at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
}

/// The address of the client is personal data and not logged.
fn log(admission: &Admission) {
    if let Some((count, refused)) = admission.to_log() {
        tracing::warn!(
            connections = count,
            "connections were refused: {count} since this was last logged; {refused}"
        );
    }
}
