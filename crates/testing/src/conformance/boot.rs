//! The schema registry at boot.

use contracts::{Codec, Timestamp, UserDeactivated};
use futures::future::join_all;
use messaging::{BootError, Messaging};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::service::Store;

/// The behaviour of a registry, or of what responds in its place.
#[derive(Debug, Clone, Copy)]
enum Behaviour {
    /// Knows every schema.
    Complete,
    /// Knows every subject, with other schemas.
    Different,
    /// Does not listen.
    Down,
    /// Accepts a request and never responds.
    Hanging,
    /// Responds with this status and this body.
    Broken(u16, &'static str),
}

const OUTAGES: [Behaviour; 8] = [
    Behaviour::Down,
    Behaviour::Hanging,
    Behaviour::Broken(
        500,
        r#"{ "error_code": 50001, "message": "the store of the registry failed" }"#,
    ),
    Behaviour::Broken(503, "<html>no backend</html>"),
    Behaviour::Broken(200, "<html>maintenance</html>"),
    Behaviour::Broken(200, "{}"),
    Behaviour::Broken(404, "<html>no route</html>"),
    Behaviour::Broken(401, r#"{ "error_code": 40101, "message": "unauthorized" }"#),
];

/// A service that has run before starts with the schema ids of its own store, however the registry fails.
pub async fn a_registry_outage_does_not_stop_a_service_that_has_run_before<S: Store>() {
    let store = S::fresh().await;
    let complete = start::<S>(&store, Behaviour::Complete).await;
    let before = framed(&complete.expect("the registry knows every schema"));
    let starts = OUTAGES.map(|outage| start::<S>(&store, outage));
    for (outage, started) in OUTAGES.iter().zip(join_all(starts).await) {
        let codec = started.unwrap_or_else(|error| panic!("{outage:?}: {}", chassis::error_chain(&error)));
        assert_eq!(framed(&codec), before, "{outage:?}");
    }
}

/// Without stored ids, a service cannot start while the registry is not available. The error is not about its schemas.
pub async fn a_service_that_has_never_run_needs_the_registry<S: Store>() {
    let store = S::fresh().await;
    for outage in [Behaviour::Down, Behaviour::Broken(200, "{}")] {
        let started = start::<S>(&store, outage).await;
        assert!(matches!(started, Err(BootError::Registry { .. })), "{outage:?}");
    }
}

/// A service does not start with a registry whose schemas differ, even if it has run before.
pub async fn a_registry_with_other_schemas_stops_every_service<S: Store>() {
    let store = S::fresh().await;
    for _ in 0..2 {
        let started = start::<S>(&store, Behaviour::Different).await;
        assert!(matches!(started, Err(BootError::Schemas(_))));
        start::<S>(&store, Behaviour::Complete)
            .await
            .expect("the registry knows every schema");
    }
}

async fn start<S: Store>(store: &S, behaviour: Behaviour) -> Result<Codec, BootError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!(
        "http://{}",
        listener.local_addr().expect("a bound socket has an address")
    );
    let serve = async {
        if matches!(behaviour, Behaviour::Down) {
            drop(listener);
            return std::future::pending().await;
        }
        let mut open = Vec::new();
        for id in 1.. {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            read_request(&mut stream).await;
            let (status, body) = match behaviour {
                Behaviour::Complete => (200, format!(r#"{{ "id": {id} }}"#)),
                Behaviour::Different => (404, r#"{ "error_code": 40403, "message": "unknown" }"#.to_owned()),
                Behaviour::Broken(status, body) => (status, body.to_owned()),
                Behaviour::Down | Behaviour::Hanging => {
                    open.push(stream);
                    continue;
                }
            };
            let head = format!(
                "HTTP/1.1 {status} -\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let sent = stream.write_all((head + &body).as_bytes()).await;
            sent.expect("the response is read");
        }
    };
    let ledger = store.ledger();
    tokio::select! {
        started = Messaging::codec_at_boot(&url, &ledger) => started,
        () = serve => unreachable!("the registry never ends"),
    }
}

/// Reads a request with a JSON body.
async fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.is_some_and(|length| body.len() >= length.parse().expect("a number")) {
            return;
        }
        stream.read_buf(&mut request).await.expect("a request");
    }
}

/// Returns the bytes of a message, which contain the schema id.
fn framed(codec: &Codec) -> Vec<u8> {
    let event = UserDeactivated {
        reason: "left".to_owned(),
        deactivated_at: Timestamp::EPOCH,
    };
    codec.encode(&event).expect("the message can be encoded")
}
