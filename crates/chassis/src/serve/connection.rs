//! Serves one connection, with a time limit for each of its phases.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::Limits;

/// Tokens that end a connection.
#[derive(Debug)]
pub(super) struct StopTokens {
    /// Accepts no more requests, and finishes the response in flight.
    pub(super) drain: CancellationToken,
    /// Closes the connection immediately.
    pub(super) end: CancellationToken,
}

/// Phase of a connection.
///
/// The phases are observed here, because hyper has one time limit for both idle connections and incomplete headers, and
/// none for a client that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits for the rest of a request's header.
    Header { since: Instant },
    /// From a complete header to the end of the response's body.
    Response,
    /// The body is complete, but hyper still holds bytes that the client has not read. `early`: bytes of the next request
    /// have arrived.
    Flush { early: bool },
    /// Waits for the first byte of the next request.
    Idle { since: Instant },
}

/// The current phase, shared by the socket, the service and the connection's task.
#[derive(Debug, Clone)]
struct Phases(Arc<Mutex<Phase>>);

/// Guard that keeps the connection in [`Phase::Response`] until it is dropped.
#[derive(Debug)]
struct InResponse(Phases);

/// A response's body, which ends the phase when hyper drops it after reading all of it.
#[derive(Debug)]
struct ResponseBody {
    body: Body,
    _phase: InResponse,
}

/// A connection's socket, which detects the first byte of a request, and a client that does not read.
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    phases: Phases,
    write: Duration,
    /// Timer that runs while the system accepts no more bytes.
    blocked: Option<Pin<Box<Sleep>>>,
}

/// Serves the requests of one connection until it ends or exceeds a limit.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, router: Router, limits: Limits, stops: StopTokens) {
    let phases = Phases(Arc::new(Mutex::new(Phase::Header { since: Instant::now() })));
    let socket = Socket {
        stream,
        phases: phases.clone(),
        write: limits.write,
        blocked: None,
    };
    let service = service_fn({
        let phases = phases.clone();
        move |request: Request<Incoming>| {
            let (router, phase) = (router.clone(), phases.respond());
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(peer));
                let response = router.oneshot(request).await;
                response.map(|response| response.map(|body| ResponseBody { body, _phase: phase }))
            }
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(limits.buffer)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let mut deadline = pin!(sleep(limits.header));
    let mut draining = false;
    loop {
        let ended = poll_fn(|cx| {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended.map_err(|error| error.to_string()));
            }
            let Some(at) = phases.get().deadline(&limits) else {
                return Poll::Pending;
            };
            if deadline.deadline() != at {
                deadline.as_mut().reset(at);
            }
            let late = deadline.as_mut().poll(cx);
            late.map(|()| Err(format!("no request in time: {:?}", phases.get())))
        });
        tokio::select! {
            biased;
            () = stops.end.cancelled() => return,
            () = stops.drain.cancelled(), if !draining => draining = true,
            ended = ended => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection was closed: {error}");
                }
                return;
            }
        }
        // hyper waits for the rest of a header, so a client could delay the drain indefinitely.
        if let Phase::Header { .. } = phases.get() {
            return;
        }
        connection.as_mut().graceful_shutdown();
    }
}

impl Phase {
    /// Returns the end of this phase, or `None` if the service and [`Limits::write`] end it.
    fn deadline(self, limits: &Limits) -> Option<Instant> {
        match self {
            Phase::Header { since } => Some(since + limits.header),
            Phase::Idle { since } => Some(since + limits.idle),
            Phase::Response | Phase::Flush { .. } => None,
        }
    }
}

impl Phases {
    fn get(&self) -> Phase {
        *self.lock()
    }

    /// Begins a response, after a complete header.
    fn respond(&self) -> InResponse {
        *self.lock() = Phase::Response;
        InResponse(self.clone())
    }

    /// Handles the arrival of bytes.
    fn read(&self) {
        let mut phase = self.lock();
        match *phase {
            Phase::Idle { .. } => *phase = Phase::Header { since: Instant::now() },
            Phase::Flush { .. } => *phase = Phase::Flush { early: true },
            Phase::Header { .. } | Phase::Response => {}
        }
    }

    /// Handles the end of a flush: the system has accepted all written bytes.
    fn flushed(&self) {
        let mut phase = self.lock();
        let since = Instant::now();
        match *phase {
            Phase::Flush { early: true } => *phase = Phase::Header { since },
            Phase::Flush { early: false } => *phase = Phase::Idle { since },
            Phase::Header { .. } | Phase::Response | Phase::Idle { .. } => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InResponse {
    fn drop(&mut self) {
        *self.0.lock() = Phase::Flush { early: false };
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Socket {
    /// Fails a write that has made no progress for [`Limits::write`].
    fn progress<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.blocked = None;
            return written;
        }
        let write = self.write;
        let blocked = self.blocked.get_or_insert_with(|| Box::pin(sleep(write)));
        ready!(blocked.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read its response",
        )))
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.phases.read();
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.progress(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.progress(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Flushes the stream. hyper calls this when it has no more bytes to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.phases.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
