//! A proxy between Kafka clients and the real broker, which misbehaves when a test asks for it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, BrokerId, FetchResponse, FindCoordinatorResponse, MetadataResponse, ProduceResponse, RequestHeader,
    ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes, decode_request_header_from_buffer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::env;

/// LEADER_NOT_AVAILABLE (Kafka protocol guide, error codes).
const NO_LEADER: i16 = 5;

/// Forwards requests and responses, and puts its own address into responses that name brokers, so clients stay
/// connected to the proxy. It ends when it is dropped.
pub struct KafkaProxy {
    shared: Arc<Shared>,
    end: CancellationToken,
}

struct Shared {
    address: SocketAddr,
    /// A Fetch request was swallowed.
    swallowed: Notify,
    faults: Mutex<Faults>,
}

#[derive(Default)]
struct Faults {
    /// Number of Metadata responses without brokers that remain, by client id.
    without_brokers: HashMap<String, usize>,
    /// Connections up to this number get no response to Fetch.
    without_fetch: u64,
    connections: u64,
    /// Cancelled to cut a client's connections.
    cuts: HashMap<String, CancellationToken>,
}

/// One connection from a client.
struct Connection {
    shared: Arc<Shared>,
    number: u64,
    /// Headers of requests without a response, by correlation id.
    requests: Mutex<HashMap<i32, RequestHeader>>,
}

impl KafkaProxy {
    /// Starts on a free port of the loopback interface.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let shared = Arc::new(Shared {
            address: listener.local_addr().expect("a bound socket has an address"),
            swallowed: Notify::new(),
            faults: Mutex::default(),
        });
        let end = CancellationToken::new();
        let (accepting, stop) = (Arc::clone(&shared), end.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                let connection = Arc::new(Connection {
                    shared: Arc::clone(&accepting),
                    number: accepting.next_number(),
                    requests: Mutex::default(),
                });
                tokio::spawn(stop.clone().run_until_cancelled_owned(forward(client, connection)));
            }
        }));
        Self { shared, end }
    }

    /// Returns the address that clients use as their broker.
    pub fn brokers(&self) -> String {
        self.shared.address.to_string()
    }

    /// Returns, to the next `count` Metadata requests of the clients with this `client.id`, a cluster whose only broker is
    /// fenced: no broker, and no leader of any partition. Also cuts the connections of these clients, as a broker that
    /// restarts does.
    pub fn hide_brokers(&self, client_id: &str, count: usize) {
        let mut faults = self.shared.faults();
        faults.without_brokers.insert(client_id.to_owned(), count);
        if let Some(cut) = faults.cuts.remove(client_id) {
            cut.cancel();
        }
    }

    /// Returns `true` if the clients with this `client.id` got every response without brokers that was requested.
    pub fn brokers_were_hidden(&self, client_id: &str) -> bool {
        self.shared.faults().without_brokers.get(client_id) == Some(&0)
    }

    /// Swallows every Fetch request from now on.
    pub fn swallow_all_fetches(&self) {
        self.shared.faults().without_fetch = u64::MAX;
    }

    /// Swallows every Fetch request on the connections that exist now, so their clients seem connected and fetch
    /// nothing. Returns after the first one: a client has one such request in flight, so no response is to come.
    pub async fn swallow_fetches(&self) {
        {
            let mut faults = self.shared.faults();
            faults.without_fetch = faults.connections;
        }
        self.shared.swallowed.notified().await;
    }
}

impl Drop for KafkaProxy {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Shared {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_number(&self) -> u64 {
        let mut faults = self.faults();
        faults.connections += 1;
        faults.connections
    }

    /// Returns the token that cuts a client's current connections.
    fn cut(&self, client_id: &str) -> CancellationToken {
        self.faults().cuts.entry(client_id.to_owned()).or_default().clone()
    }
}

async fn forward(client: TcpStream, connection: Arc<Connection>) {
    let Ok(broker) = TcpStream::connect(&env().kafka_brokers).await else {
        return;
    };
    for stream in [&client, &broker] {
        // A failure only costs latency.
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    tokio::select! {
        _ = requests(&connection, from_client, to_broker) => {}
        _ = responses(&connection, from_broker, to_client) => {}
    }
}

/// Forwards requests until the client's connections are cut.
async fn requests(connection: &Connection, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let mut cut = CancellationToken::new();
    loop {
        let Some(frame) = cut.run_until_cancelled(frame(&mut from)).await.transpose()? else {
            return Ok(());
        };
        let header = decode_request_header_from_buffer(&mut frame.clone()).map_err(io::Error::other)?;
        cut = connection.shared.cut(header.client_id.as_deref().unwrap_or_default());
        let swallowed = header.request_api_key == ApiKey::Fetch as i16
            && connection.number <= connection.shared.faults().without_fetch;
        if swallowed {
            connection.shared.swallowed.notify_one();
            continue;
        }
        connection.requests().insert(header.correlation_id, header);
        write(&mut to, &frame).await?;
    }
}

async fn responses(connection: &Connection, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    loop {
        let frame = frame(&mut from).await?;
        let correlation_id = frame.clone().get_i32();
        let request = connection.requests().remove(&correlation_id);
        let frame = match request {
            Some(request) => connection.response(&request, frame)?,
            None => frame,
        };
        write(&mut to, &frame).await?;
    }
}

impl Connection {
    fn requests(&self) -> MutexGuard<'_, HashMap<i32, RequestHeader>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn response(&self, request: &RequestHeader, frame: Bytes) -> io::Result<Bytes> {
        let version = request.request_api_version;
        let address = self.shared.address;
        let host = StrBytes::from_string(address.ip().to_string());
        let port = i32::from(address.port());
        match ApiKey::try_from(request.request_api_key) {
            Ok(ApiKey::Metadata) => change(frame, version, |response: &mut MetadataResponse| {
                for broker in &mut response.brokers {
                    (broker.host, broker.port) = (host.clone(), port);
                }
                if self.hides_brokers(request) {
                    response.brokers.clear();
                    response.controller_id = BrokerId(-1);
                    let topics = response.topics.iter_mut();
                    for partition in topics.flat_map(|topic| &mut topic.partitions) {
                        partition.error_code = NO_LEADER;
                        partition.leader_id = BrokerId(-1);
                    }
                }
            }),
            Ok(ApiKey::FindCoordinator) => change(frame, version, |response: &mut FindCoordinatorResponse| {
                if response.port > 0 {
                    (response.host, response.port) = (host.clone(), port);
                }
                for coordinator in response.coordinators.iter_mut().filter(|found| found.port > 0) {
                    (coordinator.host, coordinator.port) = (host.clone(), port);
                }
            }),
            // If a leader has moved, these responses name the new one (KIP-951).
            Ok(ApiKey::Produce) => change(frame, version, |response: &mut ProduceResponse| {
                for leader in &mut response.node_endpoints {
                    (leader.host, leader.port) = (host.clone(), port);
                }
            }),
            Ok(ApiKey::Fetch) => change(frame, version, |response: &mut FetchResponse| {
                for leader in &mut response.node_endpoints {
                    (leader.host, leader.port) = (host.clone(), port);
                }
            }),
            _ => Ok(frame),
        }
    }

    fn hides_brokers(&self, request: &RequestHeader) -> bool {
        let mut faults = self.shared.faults();
        let client_id = request.client_id.as_deref().unwrap_or_default();
        match faults.without_brokers.get_mut(client_id) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}

/// Decodes a response, changes it, and encodes it again.
fn change<R: Decodable + Encodable + HeaderVersion>(
    mut frame: Bytes,
    version: i16,
    change: impl FnOnce(&mut R),
) -> io::Result<Bytes> {
    let header_version = R::header_version(version);
    let header = ResponseHeader::decode(&mut frame, header_version).map_err(io::Error::other)?;
    let mut response = R::decode(&mut frame, version).map_err(io::Error::other)?;
    change(&mut response);
    let mut changed = BytesMut::new();
    header.encode(&mut changed, header_version).map_err(io::Error::other)?;
    response.encode(&mut changed, version).map_err(io::Error::other)?;
    Ok(changed.freeze())
}

/// Reads one frame, without its length.
async fn frame(from: &mut OwnedReadHalf) -> io::Result<Bytes> {
    let length = from.read_u32().await?;
    let mut frame = BytesMut::zeroed(length as usize);
    from.read_exact(&mut frame).await?;
    Ok(frame.freeze())
}

async fn write(to: &mut OwnedWriteHalf, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes(), frame].concat()).await
}
