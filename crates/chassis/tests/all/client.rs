//! A minimal HTTP client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::net::TcpSocket;

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }
}

/// Sends a request and returns the response. Blocks, so asynchronous tests call [`send`] instead.
pub(crate) fn send_blocking(address: SocketAddr, request_line: &str) -> Response {
    let request = format!("{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    send_raw_blocking(address, &request)
}

fn send_raw_blocking(address: SocketAddr, request: &str) -> Response {
    let mut stream = TcpStream::connect(address).expect("a process listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a valid timeout");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    Response {
        status: status.parse().expect("a number"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

pub(crate) async fn send(address: SocketAddr, request_line: &'static str) -> Response {
    tokio::task::spawn_blocking(move || send_blocking(address, request_line))
        .await
        .expect("no panic")
}

/// Sends `request` unchanged. It must request that the connection is closed.
pub(crate) async fn send_raw(address: SocketAddr, request: String) -> Response {
    tokio::task::spawn_blocking(move || send_raw_blocking(address, &request))
        .await
        .expect("no panic")
}

/// Returns an address that refuses connections while the socket exists, because the socket is bound but not listening.
pub(crate) fn unreachable_address() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}
