//! Tests with the real registry that `scripts/test` starts. Each test has its own subjects and deletes them.

use contracts::{
    Codec, Record, Registry, UserDeactivated,
    registry::{Difference, Error},
    topics,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use uuid::Uuid;

/// The subjects of one test, with a unique prefix. They are deleted on drop.
struct Subjects {
    url: String,
    prefix: String,
}

impl Subjects {
    fn new() -> (Registry, Self) {
        let url = std::env::var("SCHEMA_REGISTRY_URL").expect(
            "SCHEMA_REGISTRY_URL is not set: run the tests with scripts/test, or eval \"$(scripts/stack env)\" first",
        );
        (
            Registry::new(&url),
            Self {
                url,
                prefix: format!("test-{}.", Uuid::now_v7().simple()),
            },
        )
    }

    fn of<R: Record>(&self) -> String {
        format!("{}{}", self.prefix, R::TOPIC.subject(R::NAME))
    }
}

impl Drop for Subjects {
    fn drop(&mut self) {
        let (subjects, prefix) = (format!("{}/subjects", self.url), self.prefix.clone());
        // A runtime cannot be started inside the test's runtime.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let http = reqwest::Client::new();
                let all: Vec<String> = http.get(&subjects).send().await?.json().await?;
                for subject in all.iter().filter(|subject| subject.starts_with(&prefix)) {
                    for query in ["", "?permanent=true"] {
                        http.delete(format!("{subjects}/{subject}{query}"))
                            .send()
                            .await?
                            .error_for_status()?;
                    }
                }
                Ok::<(), reqwest::Error>(())
            })
        });
        let removed = removal.join();
        assert!(
            std::thread::panicking() || matches!(removed, Ok(Ok(()))),
            "subjects were left behind: {removed:?}"
        );
    }
}

#[tokio::test]
async fn registering_is_idempotent_and_lookup_finds_the_same_ids() {
    let (registry, subjects) = Subjects::new();

    let missing = registry
        .lookup_all(topics::ALL, &subjects.prefix)
        .await
        .expect_err("nothing is registered yet");
    let Error::NotRegistered(differences) = &missing else {
        panic!("{missing}")
    };
    assert!(
        differences.contains(&Difference::Missing(subjects.of::<UserDeactivated>())),
        "{missing}"
    );
    assert!(missing.to_string().contains("rollcall schemas register"), "{missing}");

    let registered = registry
        .register_all(topics::ALL, &subjects.prefix)
        .await
        .expect("all are new");
    let again = registry
        .register_all(topics::ALL, &subjects.prefix)
        .await
        .expect("all are the same");
    let found = registry
        .lookup_all(topics::ALL, &subjects.prefix)
        .await
        .expect("all are registered");
    assert_eq!(again, registered);
    assert_eq!(found, registered);

    // A codec is created with the ids, and another process can learn the schemas from the registry.
    let codec = Codec::with_ids(found.clone()).expect("complete");
    let framed = codec.encode(&UserDeactivated {
        reason: "left".into(),
        deactivated_at: contracts::Timestamp::EPOCH,
    });
    let framed = framed.expect("encodes");
    let other = Codec::with_ids(found.into_iter().map(|(name, id)| (name, id + 1_000_000))).expect("complete");
    let unknown = other.decode::<UserDeactivated>(&framed).expect_err("another id");
    let contracts::codec::Error::UnknownSchema(id) = unknown else {
        panic!("{unknown}")
    };
    other
        .learn(id, &registry.schema(id).await.expect("it is registered"))
        .expect("a valid schema");
    assert_eq!(
        other.decode::<UserDeactivated>(&framed).expect("decodes").reason,
        "left"
    );
}

#[tokio::test]
async fn a_schema_that_differs_from_the_registered_one_is_reported() {
    let (registry, subjects) = Subjects::new();
    let subject = subjects.of::<UserDeactivated>();
    let other = UserDeactivated::SCHEMA.replacen(r#""type": "string" }"#, r#""type": "string", "personal": true }"#, 1);
    registry.register(&subject, &other).await.expect("a new subject");

    let error = registry
        .lookup_all(&[&topics::USERS], &subjects.prefix)
        .await
        .expect_err("another personal mark");
    let Error::NotRegistered(differences) = &error else {
        panic!("{error}")
    };
    assert!(differences.contains(&Difference::Other(subject.clone())), "{error}");
    assert!(
        error.to_string().contains(&format!("{subject} has a different schema")),
        "{error}"
    );
    assert_eq!(
        registry
            .lookup(&subject, UserDeactivated::SCHEMA)
            .await
            .expect("the registry responds"),
        None
    );
    assert!(
        registry
            .lookup(&subject, &other)
            .await
            .expect("the registry responds")
            .is_some()
    );
}

#[tokio::test]
async fn an_incompatible_schema_is_rejected_in_both_directions() {
    let (registry, subjects) = Subjects::new();
    let subject = subjects.of::<UserDeactivated>();
    registry
        .register_all(&[&topics::USERS], &subjects.prefix)
        .await
        .expect("new");
    let with = |field: &str| UserDeactivated::SCHEMA.replacen(r#""fields": ["#, &format!(r#""fields": [{field},"#), 1);
    let fine = with(r#"{ "name": "by", "type": "string", "default": "" }"#);
    // Old readers could read this, but new readers could not read the old version.
    let no_default = with(r#"{ "name": "by", "type": "string" }"#);
    // New readers could read the old version, but old readers could not read this.
    let removed = r#"{ "type": "record", "namespace": "rollcall.users", "name": "UserDeactivated", "fields": [] }"#;

    registry
        .check_compatibility(&subject, &fine)
        .await
        .expect("the registry responds")
        .expect("compatible");
    for bad in [no_default.as_str(), removed] {
        registry
            .check_compatibility(&subject, bad)
            .await
            .expect("the registry responds")
            .expect_err("incompatible");
        let error = registry.register(&subject, bad).await.expect_err("incompatible");
        assert!(matches!(&error, Error::Incompatible { .. }), "{error}");
        assert!(error.to_string().contains(&subject), "{error}");
    }
}

#[tokio::test]
async fn an_unknown_schema_id_is_not_found() {
    let (registry, subjects) = Subjects::new();
    let error = registry.schema(i32::MAX).await.expect_err("the id is unknown");
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let subject = subjects.of::<UserDeactivated>();
    let fits = registry
        .check_compatibility(&subject, UserDeactivated::SCHEMA)
        .await
        .expect("the registry responds");
    fits.expect("a new subject accepts any schema");
}

#[tokio::test]
async fn an_unreachable_registry_is_reported_with_the_setting() {
    // A bound socket that does not listen reserves a port on which no server listens.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a free port");
    let address = socket.local_addr().expect("bound");
    let registry = Registry::new(&format!("http://user:secret@{address}"));

    let error = registry
        .lookup("users-rollcall.users.UserCreated", "{}")
        .await
        .expect_err("the registry is unreachable");

    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("users-rollcall.users.UserCreated") && text.contains("SCHEMA_REGISTRY_URL"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_schema_beyond_the_size_limit_is_rejected() {
    let (registry, subjects) = Subjects::new();
    let large = serde_json::json!({
        "type": "record", "name": "Large", "doc": "d".repeat(600 * 1024), "fields": [],
    });
    let subject = format!("{}large", subjects.prefix);
    let id = registry
        .register(&subject, &large.to_string())
        .await
        .expect("the registry accepts it");
    let refused = registry.schema(id).await.expect_err("it has too many bytes");
    assert!(matches!(refused, Error::TooLarge { .. }), "{refused:?}");
}

/// Starts a registry that responds with these statuses, one after the other, and then ends.
async fn registry_with_statuses(statuses: &'static [u16]) -> (Registry, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let served = tokio::spawn(async move {
        for status in statuses {
            let (mut stream, _) = listener.accept().await.expect("a request");
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                stream.read_buf(&mut request).await.expect("a request with a body");
            }
            let body = r#"{"id":7,"message":"terminating connection"}"#;
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream
                .write_all((head + body).as_bytes())
                .await
                .expect("the response is read");
        }
    });
    (Registry::new(&format!("http://{address}")), served)
}

#[tokio::test]
async fn a_request_is_retried_after_a_server_error() {
    let (registry, served) = registry_with_statuses(&[500, 503, 200]).await;
    assert_eq!(registry.register("subject", "{}").await.expect("it is registered"), 7);
    served.await.expect("every response was requested");
}

#[tokio::test]
async fn a_request_is_not_retried_after_a_client_error() {
    let (registry, served) = registry_with_statuses(&[422]).await;
    let refused = registry.register("subject", "{}").await.expect_err("it is refused");
    assert!(refused.to_string().contains("422"), "{refused}");
    served.await.expect("one response was requested");
}
