//! A load generator over HTTP/1.1. It shares the cores with the system under test, so a request costs it only a few
//! microseconds: the client is a TCP connection, and a response is read up to its length and not parsed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

/// Time limit of one request.
const PATIENCE: Duration = Duration::from_secs(30);

/// The address of the gateway, and the access token of a user.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) address: Arc<str>,
    pub(crate) token: Arc<str>,
}

impl User {
    /// Returns a write that waits for its outcome.
    pub(crate) fn write(&self, path: &str, body: &str) -> Vec<u8> {
        self.write_with("prefer: wait=25\r\n", path, body)
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\r\n",
            self.address, self.token
        )
        .into_bytes()
    }

    /// Returns a write with additional header lines.
    pub(crate) fn write_with(&self, headers: &str, path: &str, body: &str) -> Vec<u8> {
        format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             idempotency-key: {}\r\n{headers}content-length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            Uuid::new_v4(),
            body.len()
        )
        .into_bytes()
    }
}

/// A connection to the gateway.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The status and the length of a response.
struct Head {
    status: u16,
    length: usize,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(4096),
        })
    }

    /// Sends a request, and returns the status of the response.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<u16> {
        tokio::time::timeout(PATIENCE, self.exchange(request))
            .await
            .with_context(|| format!("no response within {PATIENCE:?}"))?
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        let head = loop {
            ensure!(
                self.stream.read_buf(&mut self.buffer).await? > 0,
                "the gateway closed the connection"
            );
            if let Some(head) = head(&self.buffer)? {
                break head;
            }
        };
        while self.buffer.len() < head.length {
            ensure!(
                self.stream.read_buf(&mut self.buffer).await? > 0,
                "the gateway closed the connection"
            );
        }
        Ok(head.status)
    }

    /// Returns the body of the last response.
    pub(crate) fn body(&self) -> &[u8] {
        let end = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        end.map_or(&[], |end| &self.buffer[end + 4..])
    }

    /// Returns the last response, as text.
    pub(crate) fn response(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.buffer)
    }
}

fn head(response: &[u8]) -> Result<Option<Head>> {
    let Some(end) = response.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&response[..end]).context("the head of the response is not text")?;
    let mut lines = text.split("\r\n");
    let status: u16 = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .context("the response has no status")?;
    let body: Option<usize> = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse().ok());
    let body = match (body, status) {
        (Some(body), _) => body,
        (None, 204 | 304) => 0,
        (None, _) => anyhow::bail!("the response has no content-length: {text}"),
    };
    Ok(Some(Head {
        status,
        length: end + 4 + body,
    }))
}

/// The result of a load.
#[derive(Debug)]
pub(crate) struct Load {
    /// Time of each request that got the expected status within the measured time.
    pub(crate) took: Vec<Duration>,
    /// Requests that got another status.
    pub(crate) others: usize,
    pub(crate) elapsed: Duration,
}

impl Load {
    pub(crate) fn per_second(&self) -> f64 {
        self.took.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Returns a percentile in milliseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let mut took = self.took.clone();
        took.sort_unstable();
        let index = (took.len() * percent / 100).min(took.len().saturating_sub(1));
        took.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

/// A load in progress.
struct Running {
    expected: u16,
    took: Mutex<Vec<Duration>>,
    others: AtomicUsize,
}

impl Running {
    fn new(expected: u16) -> Arc<Self> {
        Arc::new(Self {
            expected,
            took: Mutex::default(),
            others: AtomicUsize::new(0),
        })
    }

    fn record(&self, connection: &Connection, status: u16, took: Duration) {
        if status == self.expected {
            self.took.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        } else if self.others.fetch_add(1, Ordering::Relaxed) == 0 {
            eprintln!("    a response with another status: {}", connection.response());
        }
    }

    fn load(&self, elapsed: Duration) -> Load {
        Load {
            took: std::mem::take(&mut self.took.lock().unwrap_or_else(PoisonError::into_inner)),
            others: self.others.load(Ordering::Relaxed),
            elapsed,
        }
    }
}

/// Sends requests with a number of clients. Each client sends its next request when it has the response to the last one.
/// `request` returns `None` when there are no more requests, which ends the load.
pub(crate) async fn closed_loop(
    address: &str,
    clients: usize,
    warm_up: Duration,
    duration: Duration,
    expected: u16,
    request: impl Fn() -> Option<Vec<u8>> + Send + Sync + 'static,
) -> Result<Load> {
    let running = Running::new(expected);
    let request = Arc::new(request);
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(Connection::open(address).await?);
    }
    let from = Instant::now() + warm_up;
    let until = from + duration;
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let (running, request) = (Arc::clone(&running), Arc::clone(&request));
            tokio::spawn(async move {
                let mut started = Instant::now();
                while started < until {
                    let Some(bytes) = request() else { break };
                    let status = connection.send(&bytes).await?;
                    let now = Instant::now();
                    if now >= from && now < until {
                        running.record(&connection, status, now - started);
                    }
                    started = now;
                }
                anyhow::Ok(started)
            })
        })
        .collect();
    let mut last = from;
    for task in tasks {
        last = last.max(task.await??);
    }
    Ok(running.load(last.min(until) - from))
}

/// Sends requests at a fixed rate. A slow response does not delay the next request, and each time counts from the moment
/// at which the request was due.
pub(crate) async fn open_loop(
    address: &str,
    rate: u32,
    duration: Duration,
    expected: u16,
    request: impl Fn() -> Vec<u8>,
) -> Result<Load> {
    let running = Running::new(expected);
    let idle: Arc<Mutex<Vec<Connection>>> = Arc::default();
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / f64::from(rate)));
    let mut tasks = Vec::new();
    for _ in 0..(f64::from(rate) * duration.as_secs_f64()) as usize {
        let due = ticks.tick().await.into_std();
        let (running, idle, bytes) = (Arc::clone(&running), Arc::clone(&idle), request());
        let address = address.to_owned();
        tasks.push(tokio::spawn(async move {
            let free = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match free {
                Some(connection) => connection,
                None => Connection::open(&address).await?,
            };
            let status = connection.send(&bytes).await?;
            running.record(&connection, status, due.elapsed());
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            anyhow::Ok(())
        }));
    }
    let elapsed = started.elapsed();
    for task in tasks {
        task.await??;
    }
    Ok(running.load(elapsed))
}
