//! As little of an HTTP client as the tests need.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::net::TcpSocket;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }
}

/// Blocks: from asynchronous tests, call [`ask`].
pub(crate) fn ask_blocking(address: SocketAddr, request_line: &str) -> Answer {
    let request = format!("{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ask_raw_blocking(address, &request)
}

fn ask_raw_blocking(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a valid timeout");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    Answer {
        status: status.parse().expect("a number"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

pub(crate) async fn ask(address: SocketAddr, request_line: &'static str) -> Answer {
    tokio::task::spawn_blocking(move || ask_blocking(address, request_line))
        .await
        .expect("an answer")
}

/// The request as it is sent, which asks to close the connection.
pub(crate) async fn ask_raw(address: SocketAddr, request: String) -> Answer {
    tokio::task::spawn_blocking(move || ask_raw_blocking(address, &request))
        .await
        .expect("an answer")
}

/// An address that refuses connections, for as long as the socket lives: bound, and not listening.
pub(crate) fn nobody_listens() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}
