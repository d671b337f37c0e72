//! Serves a router over HTTP/1.1 on a listener, with limits on what a client may hold open.
//!
//! Both the admin port and the gateway's public port are served here, because `axum::serve` sets no limits: a client
//! that sends nothing, or half of a header, would hold its connection and its buffers indefinitely.

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
use connection::StopTokens;

/// Limits for connections and their phases. The defaults suit a public port; tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum duration of receiving a request's header, from the start of the connection, or from the first byte on an
    /// idle connection. 10 s is enough for the slowest network. Bytes that arrive in between do not extend it.
    pub header: Duration,
    /// Maximum time that a connection may wait for its next request. 60 s, the common value of reverse proxies.
    pub idle: Duration,
    /// Maximum time for which a client may read nothing of a response. 30 s, the maximum duration of a request.
    pub write: Duration,
    /// Maximum time for the responses in flight when the server stops. 10 s, because it must be less than the share of
    /// `SHUTDOWN_TIMEOUT_MS` that inputs may use.
    pub drain: Duration,
    /// Maximum size of a request's header, and of the buffered part of a response, in bytes. 64 KiB is eight times
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
            // Together with the connections to servers, less than 1,024, the usual maximum of open files of a process.
            connections: 800,
            connections_per_address: 400,
        }
    }
}

/// Pause before the next accept after the system failed to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves `router` until `stop` completes, then drains the connections.
///
/// A connection over a maximum is closed immediately and without a response, because a response would cost what the
/// maximum protects. `counted` returns the address that a client's connections are counted under, or `None` if they
/// count towards [`Limits::connections`] only. Each request has an `axum::extract::ConnectInfo<SocketAddr>`.
///
/// The drain closes connections that hold no complete request immediately. Responses in flight have [`Limits::drain`].
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
                // The connection stays in the system's queue, so an immediate retry would be a busy loop.
                tracing::error!(%error, "cannot accept a connection; retrying in {ACCEPT_PAUSE:?}: {error}");
                tokio::select! {
                    biased;
                    () = &mut stop => break,
                    () = sleep(ACCEPT_PAUSE) => continue,
                }
            }
        };
        let permit = match Admission::enter(&admission, counted(peer.ip())) {
            Ok(permit) => permit,
            Err(_) => {
                log(&admission);
                continue;
            }
        };
        disable_nagle(&stream);
        let stops = StopTokens {
            drain: drain.clone(),
            end: end.clone(),
        };
        let connection = connection::serve(stream, peer, router.clone(), limits, stops);
        connections.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    drain.cancel();
    connections.close();
    if timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "closing {} connections with incomplete responses, which took longer than {:?}",
            connections.len(),
            limits.drain,
        );
        end.cancel();
        connections.wait().await;
    }
}

/// Returns `true` if an error of `accept` concerns only the connection to be accepted, and not this process.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

/// Disables Nagle's algorithm, because responses are small and waiting for a full segment costs 40 ms.
fn disable_nagle(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot disable Nagle's algorithm on a connection: {error}");
    }
}

/// Logs refused connections without the client's address, because it is personal data.
fn log(admission: &Admission) {
    if let Some((count, refusal)) = admission.to_log() {
        tracing::warn!(
            connections = count,
            "refused {count} connections since the last report; {refusal}"
        );
    }
}
