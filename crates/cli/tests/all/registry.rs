use contracts::topics;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::rollcall::Rollcall;

#[test]
fn schemas_are_registered_and_found() {
    let rollcall = Rollcall::new();
    let registered = rollcall.run(&["schemas", "register", "--json"]);
    assert_eq!(registered.code, Some(0), "{registered:?}");
    let body = registered.json();
    let schemas = body["schemas"].as_array().expect("a list");
    assert_eq!(
        schemas.len(),
        topics::ALL.iter().map(|topic| topic.records.len()).sum::<usize>()
    );
    assert!(
        schemas
            .iter()
            .all(|row| row["state"] == "registered" && row["id"].is_i64()),
        "{schemas:?}"
    );

    let checked = rollcall.run(&["schemas", "check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(
        checked.stdout,
        format!("all {} schemas are registered\n", schemas.len())
    );
}

#[tokio::test]
async fn a_missing_schema_leads_to_exit_code_1() {
    let registry = simulate_registry(|path| match path {
        _ if path.starts_with("/subjects/users-") => (404, json!({ "error_code": 40401, "message": "no subject" })),
        _ if path.starts_with("/compatibility/") => (200, json!({ "is_compatible": true })),
        _ => (200, json!({ "id": 7 })),
    });
    let checked = Rollcall::new()
        .run_async(&["schemas", "check", "--registry", &registry.await])
        .await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(
        checked.stdout.contains("users-rollcall.users.UserCreated"),
        "{checked:?}"
    );
    assert!(
        checked
            .stdout
            .ends_with("`rollcall schemas register` registers the missing schemas\n"),
        "{checked:?}"
    );
    assert!(!checked.stdout.contains("registrations"), "{checked:?}");
}

#[tokio::test]
async fn no_schema_is_registered_if_one_is_incompatible() {
    let registry = simulate_registry(|path| match path {
        _ if path.ends_with("/versions") && path.starts_with("/subjects/") => panic!("{path} was registered"),
        _ if path.starts_with("/subjects/") => (404, json!({ "error_code": 40403, "message": "no such schema" })),
        _ => (200, json!({ "is_compatible": false, "messages": ["a field went"] })),
    });
    let registered = Rollcall::new()
        .run_async(&["schemas", "register", "--json", "--registry", &registry.await])
        .await;
    assert_eq!(registered.code, Some(1), "{registered:?}");
    let first = &registered.json()["schemas"][0];
    assert_eq!(
        (&first["state"], &first["reasons"]),
        (&json!("incompatible"), &json!(["a field went"]))
    );
}

/// Starts a registry that returns what `respond` returns for a path. Each request uses a separate connection.
async fn simulate_registry(respond: fn(&str) -> (u16, Value)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !is_complete(&request) {
                let mut bytes = [0; 16 * 1024];
                match stream.read(&mut bytes).await.expect("a request") {
                    0 => break,
                    length => request.extend_from_slice(&bytes[..length]),
                }
            }
            let request = String::from_utf8(request).expect("UTF-8");
            let path = request.split([' ', '?']).nth(1).unwrap_or_default();
            let (status, body) = respond(path);
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status} -\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream
                .write_all(format!("{head}{body}").as_bytes())
                .await
                .expect("the response is written");
        }
    });
    format!("http://{address}")
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().expect("a number"))
}
