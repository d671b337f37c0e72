//! Records of a type that this version of the service does not know.

use contracts::{Codec, Registry, topics};
use messaging::kafka::Settings;
use messaging::{Messaging, Metrics, header};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::{App, all_subscriptions, signed_up};

const ID: u8 = 200;

/// Starts a schema registry with one schema.
async fn registry() -> Registry {
    let schema = json!({
        "type": "record", "namespace": "rollcall.users", "name": "UserRenamed",
        "fields": [{ "name": "note", "type": "string" }, { "name": "nick", "type": "string", "personal": true }],
    });
    let body = json!({ "schema": schema.to_string() }).to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.expect("a request");
            assert!(request[..read].starts_with(format!("GET /schemas/ids/{ID} ").as_bytes()));
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream
                .write_all((head + &body).as_bytes())
                .await
                .expect("the response can be written");
        }
    });
    Registry::new(&format!("http://{address}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_schema_is_fetched_and_its_personal_fields_are_left_out() {
    let app = App::start().await;
    let mut settings = Settings::new("nowhere.invalid:9092");
    settings.topic_prefix = "bench.".to_owned();
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("the registry is empty");
    let registry = Some(registry().await);
    let connected = Messaging::with_codec(
        "audit",
        settings,
        app.database.ledger(),
        metrics,
        Codec::local(),
        registry,
    );
    let mut lane = connected
        .lane(&all_subscriptions(), &[(&topics::USERS, 0)])
        .await
        .expect("a lane");

    let mut record = app.bench.record(signed_up(Uuid::now_v7()));
    record.offset = 0;
    record.headers.set(header::TYPE, "rollcall.users.UserRenamed");
    record.value = Some([0, 0, 0, 0, ID, 4, b'h', b'i', 6, b'A', b'd', b'a'].to_vec().into());
    lane.process(vec![record], &CancellationToken::new())
        .await
        .expect("the lane is not stopped");

    let entries = app.entries().await;
    assert_eq!(entries[0].content.as_deref(), Some(r#"{"note":"hi"}"#));
    assert!(entries[0].value.is_none());
    assert!(app.findings().await.is_empty());
}
