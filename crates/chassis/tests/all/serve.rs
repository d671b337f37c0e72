//! Limits of connections, tested on real sockets.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use chassis::serve::{Limits, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const LARGE: &[u8] = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n";
const LARGE_BYTES: usize = 32 * 1024 * 1024;
/// A limit that a test waits for.
const SHORT: Duration = Duration::from_millis(500);
/// A limit that no test reaches.
const LONG: Duration = Duration::from_secs(600);
/// Maximum time that a test waits for an expected event.
const DEADLINE: Duration = Duration::from_secs(10);

const PATIENT: Limits = Limits {
    header: LONG,
    idle: LONG,
    write: LONG,
    drain: LONG,
    buffer: 64 * 1024,
    connections: 100,
    connections_per_address: 100,
};

struct Server {
    address: SocketAddr,
    /// Lets `/held` respond.
    release: Arc<Notify>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        Self::start_counting(limits, Some).await
    }

    async fn start_counting(limits: Limits, counted: fn(IpAddr) -> Option<IpAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let release = Arc::new(Notify::new());
        let held = Arc::clone(&release);
        let router = Router::new()
            .route(
                "/",
                get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()),
            )
            .route("/large", get(async || Bytes::from(vec![b'x'; LARGE_BYTES])))
            .route("/read", post(async |body: Bytes| body.len().to_string()))
            .route("/unread", post(async || "unread"))
            .route(
                "/held",
                get(async move || {
                    held.notified().await;
                    "released"
                }),
            );
        let stop = CancellationToken::new();
        let serving = serve(listener, router, limits, counted, stop.clone().cancelled_owned());
        Self {
            address,
            release,
            stop,
            serving: tokio::spawn(serving),
        }
    }

    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address))
            .await
            .expect("the port listens")
    }

    async fn connect_from(&self, address: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        let address: IpAddr = address.parse().expect("an address");
        socket.bind(SocketAddr::new(address, 0)).expect("a loopback address");
        within(socket.connect(self.address)).await.expect("the port listens")
    }

    /// Opens a connection, sends a request on it, and returns it idle.
    async fn idle(&self) -> TcpStream {
        let mut stream = self.connect().await;
        assert_eq!(request(&mut stream, GET).await.as_deref(), Some("127.0.0.1"));
        stream
    }

    /// Stops the server and waits for the end of its drain.
    async fn drain(self) {
        self.stop.cancel();
        within(self.serving).await.expect("no panic");
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("the event happens in time")
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    within(stream.write_all(bytes)).await.expect("the connection is open");
}

/// Returns the body of the response, or `None` if the connection is closed.
async fn request(stream: &mut TcpStream, bytes: &[u8]) -> Option<String> {
    within(stream.write_all(bytes)).await.ok()?;
    response(stream).await
}

async fn response(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase();
            let (_, length) = length.split_once("content-length: ").expect("a length");
            let length: usize = length.lines().next().expect("a line").parse().expect("a number");
            if body.len() >= length {
                return Some(body.to_owned());
            }
        }
        match within(stream.read_buf(&mut read)).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// Waits until the server closes the connection, and returns what it sent before.
async fn closed(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    // A reset also ends the connection.
    let _ = within(stream.read_to_end(&mut read)).await;
    String::from_utf8_lossy(&read).into_owned()
}

/// Sends a byte at a time, faster than any limit, until the server closes the connection.
async fn trickle_until_closed(stream: TcpStream, bytes: &'static [u8]) {
    let (mut reader, mut writer) = stream.into_split();
    let trickle = async {
        let mut ticks = interval(SHORT / 10);
        for byte in bytes.iter().cycle() {
            ticks.tick().await;
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
    };
    let mut read = Vec::new();
    within(async {
        tokio::select! {
            () = trickle => {}
            _ = reader.read_to_end(&mut read) => {}
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_after_the_header_limit() {
    let server = Server::start(Limits {
        header: SHORT,
        ..PATIENT
    })
    .await;
    assert_eq!(closed(&mut server.connect().await).await, "");
}

#[tokio::test]
async fn a_connection_with_an_incomplete_header_is_closed_after_the_header_limit() {
    let server = Server::start(Limits {
        header: SHORT,
        ..PATIENT
    })
    .await;
    let mut first = server.connect().await;
    send(&mut first, b"GET / HTTP/1.1\r\nHo").await;
    assert_eq!(closed(&mut first).await, "");

    let mut second = server.idle().await;
    send(&mut second, b"GET / HTTP/1.1\r\nHo").await;
    assert_eq!(
        closed(&mut second).await,
        "",
        "for the second request of a connection too"
    );
}

#[tokio::test]
async fn single_bytes_do_not_extend_the_header_limit() {
    let server = Server::start(Limits {
        header: SHORT,
        ..PATIENT
    })
    .await;
    trickle_until_closed(
        server.connect().await,
        b"GET / HTTP/1.1\r\nHost: x\r\nX: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    )
    .await;
    trickle_until_closed(server.idle().await, b"\r\n").await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_idle_limit() {
    let limits = Limits {
        header: SHORT,
        idle: SHORT * 4,
        ..PATIENT
    };
    let server = Server::start(limits).await;
    let mut stream = server.idle().await;
    let started = Instant::now();
    assert_eq!(closed(&mut stream).await, "");
    assert!(started.elapsed() > SHORT * 3, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_response_may_take_longer_than_the_header_idle_and_write_limits() {
    let limits = Limits {
        header: SHORT,
        idle: SHORT,
        write: SHORT,
        ..PATIENT
    };
    let server = Server::start(limits).await;
    let mut silent = server.connect().await;
    let mut held = server.connect().await;
    send(&mut held, b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await;
    // All limits have passed when this connection is closed, because it began at the same time.
    closed(&mut silent).await;
    closed(&mut server.connect().await).await;
    server.release.notify_one();
    assert_eq!(response(&mut held).await.as_deref(), Some("released"));
}

#[tokio::test]
async fn a_body_that_no_handler_reads_does_not_keep_the_connection_open() {
    let limits = Limits {
        header: SHORT,
        idle: SHORT,
        ..PATIENT
    };
    let server = Server::start(limits).await;
    let mut stream = server.connect().await;
    let head = b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    assert_eq!(request(&mut stream, head).await.as_deref(), Some("unread"));
    trickle_until_closed(stream, b"x").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_response_is_disconnected() {
    let limits = Limits {
        write: SHORT,
        connections: 1,
        ..PATIENT
    };
    let server = Server::start(limits).await;
    let mut stuck = server.connect().await;
    send(&mut stuck, LARGE).await;
    // The maximum is one connection, so another one is served only after the first one has been closed.
    within(async {
        let mut ticks = interval(SHORT / 10);
        while request(&mut server.connect().await, GET).await.is_none() {
            ticks.tick().await;
        }
    })
    .await;
    let received = closed(&mut stuck).await;
    assert!(received.len() < LARGE_BYTES, "{} bytes", received.len());
}

#[tokio::test]
async fn a_client_that_reads_slowly_receives_the_complete_response() {
    let server = Server::start(Limits {
        write: SHORT,
        // The time of a response is not idle time, and an early byte of the next request does not start its header limit.
        idle: SHORT,
        header: SHORT,
        ..PATIENT
    })
    .await;
    let mut stream = server.connect().await;
    send(&mut stream, LARGE).await;
    send(&mut stream, b"G").await;
    let started = Instant::now();
    let mut ticks = interval(SHORT / 30);
    let (mut read, mut buffer) = (0, vec![0; 256 * 1024]);
    while read < LARGE_BYTES {
        ticks.tick().await;
        let more = within(stream.read(&mut buffer)).await.expect("the connection is open");
        assert_ne!(more, 0, "closed after {read} bytes");
        read += more;
    }
    assert!(
        started.elapsed() > SHORT * 2,
        "the client was not slow: {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn an_address_at_its_maximum_does_not_affect_other_addresses() {
    let limits = Limits {
        connections_per_address: 2,
        ..PATIENT
    };
    let server = Server::start(limits).await;
    let (one, _two) = (server.idle().await, server.idle().await);
    assert_eq!(request(&mut server.connect().await, GET).await, None);
    let mut other = server.connect_from("127.0.0.2").await;
    assert_eq!(request(&mut other, GET).await.as_deref(), Some("127.0.0.2"));

    drop(one);
    within(async {
        let mut ticks = interval(SHORT / 10);
        while request(&mut server.connect().await, GET).await.is_none() {
            ticks.tick().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_not_counted_is_limited_by_the_overall_maximum() {
    let limits = Limits {
        connections: 3,
        connections_per_address: 1,
        ..PATIENT
    };
    let server = Server::start_counting(limits, |_| None).await;
    let _open = [server.idle().await, server.idle().await, server.idle().await];
    let mut other = server.connect_from("127.0.0.2").await;
    assert_eq!(request(&mut other, GET).await, None);
}

#[tokio::test]
async fn a_header_has_a_maximum_size() {
    let server = Server::start(PATIENT).await;
    let header = |size: usize| format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", "x".repeat(size));
    let mut stream = server.connect().await;
    let served = request(&mut stream, header(60 * 1024).as_bytes()).await;
    assert_eq!(served.as_deref(), Some("127.0.0.1"));

    let mut stream = server.connect().await;
    send(&mut stream, &header(1024 * 1024).as_bytes()[..PATIENT.buffer]).await;
    let refused = closed(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
}

#[tokio::test]
async fn the_drain_does_not_wait_for_clients_without_a_complete_request() {
    let server = Server::start(PATIENT).await;
    let (mut silent, mut idle, mut half, mut second) = (
        server.connect().await,
        server.idle().await,
        server.connect().await,
        server.idle().await,
    );
    send(&mut half, b"GET / HTTP/1.1\r\nHo").await;
    send(&mut second, b"GET / HTTP/1.1\r\nHo").await;
    // When this response arrives, the server has read all earlier bytes.
    server.idle().await;
    server.drain().await;
    for stream in [&mut silent, &mut idle, &mut half, &mut second] {
        assert_eq!(closed(stream).await, "");
    }
}

#[tokio::test]
async fn the_drain_sends_the_responses_in_flight() {
    let server = Server::start(PATIENT).await;
    let mut held = server.connect().await;
    send(&mut held, b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await;
    // Connections are accepted in order, so a response on this one shows that the previous one was accepted.
    server.idle().await;
    server.stop.cancel();
    within(async { while TcpStream::connect(server.address).await.is_ok() {} }).await;
    server.release.notify_one();
    assert_eq!(response(&mut held).await.as_deref(), Some("released"));
    server.drain().await;
}

#[tokio::test]
async fn the_drain_ends_in_time_if_clients_neither_send_nor_read() {
    let server = Server::start(Limits {
        drain: SHORT,
        ..PATIENT
    })
    .await;
    let (mut half, mut stuck) = (server.connect().await, server.connect().await);
    send(
        &mut half,
        b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
    )
    .await;
    send(&mut stuck, LARGE).await;
    server.idle().await;
    server.drain().await;
}
