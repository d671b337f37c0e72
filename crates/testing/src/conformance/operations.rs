//! Operations over Kafka: what an operator may ask of every service. Each command is delivered twice and done once.

use contracts::replies::Reply;
use contracts::{OpsCommand, Replay, UserCommand};
use messaging::{Outgoing, Unit, header};
use uuid::Uuid;

use super::service::{Service, Store, happened, order};

/// Sends an operation, twice, and answers its only reply.
async fn operate<S: Store>(service: &Service<S>, command: impl Into<OpsCommand>) -> Reply {
    let command = Outgoing::<OpsCommand>::new(Uuid::now_v7(), command.into());
    let id = service.deliver(command).await;
    service.deliver_again().await;
    service.reply(id).await
}

/// The `result` of an operation that was done.
async fn result_of<S: Store>(service: &Service<S>, command: impl Into<OpsCommand>) -> String {
    match operate(service, command).await {
        Reply::CommandAccepted(reply) => reply.result.expect("an operation has a result"),
        other => panic!("it was done: {other:?}"),
    }
}

/// The code with which an operation was rejected.
async fn code_of<S: Store>(service: &Service<S>, command: impl Into<OpsCommand>) -> String {
    match operate(service, command).await {
        Reply::CommandRejected(reply) => reply.code,
        other => panic!("it was rejected: {other:?}"),
    }
}

/// An erasure leaves nothing behind that may be personal; what can't be, stays.
pub async fn forgotten_keys_leave_nothing_personal<S: Store>() {
    let service = Service::<S>::start().await;
    let (key, other) = (Uuid::now_v7(), Uuid::now_v7());
    for key in [key, other] {
        service
            .deliver_all(["poison:well", "later"].map(|word| order(key, word)))
            .await;
        // The same number under another id: a dead letter of a domain event, which holds nothing personal.
        service.deliver_all([(); 2].map(|()| happened(key, 1, ""))).await;
    }
    let mut misplaced = service.record(order(key, "add"));
    misplaced.key = Some(other.to_string().into());
    service.deliver_records(vec![misplaced]).await;
    assert_eq!(service.dead_letters().await.len(), 5);
    let remembered = service.inside().remembered().await;

    for _ in 0..2 {
        let unit = Unit::begin(service.ledger(), &service.publisher()).await;
        let mut unit = unit.expect("a transaction begins");
        unit.forget(&[key]).await.expect("forgotten");
        unit.commit().await.expect("committed");
    }

    let letters = service.dead_letters().await;
    let left: Vec<_> = letters
        .iter()
        .map(|letter| letter.record.headers.get(header::SUBJECT))
        .collect();
    let (key_text, other_text) = (key.to_string(), other.to_string());
    assert_eq!(left, [Some(key_text.as_str()), Some(&other_text), Some(&other_text)]);
    assert!(letters[0].record.partition.topic.ends_with("events"));
    let delayed = service.delayed::<UserCommand>().await;
    let delayed: Vec<_> = delayed.iter().map(|message| message.envelope.key).collect();
    assert_eq!(delayed, [other]);
    assert_eq!(service.inside().remembered().await, remembered);
}

/// What a service does beyond the rest, it does in the reply's transaction; what nobody does is rejected.
pub async fn operator_does_what_is_the_services_own<S: Store>() {
    let service = Service::<S>::start().await;
    let replay = |service: &str, projection: &str| Replay {
        service: service.to_owned(),
        projection: projection.to_owned(),
    };
    assert_eq!(
        result_of(&service, replay("conformance", "notes")).await,
        r#"{"noted":true}"#
    );
    assert_eq!(service.store.noted().await.len(), 1);
    assert_eq!(
        code_of(&service, replay("conformance", "songs")).await,
        "projection-unknown"
    );
    let nobody = contracts::VerifySnapshots {
        service: "conformance".to_owned(),
    };
    assert_eq!(code_of(&service, nobody).await, "unsupported");

    let others = Outgoing::<OpsCommand>::new(Uuid::now_v7(), replay("somebody-else", "notes"));
    let id = service.deliver(others).await;
    assert_eq!(service.replies(id).await.len(), 0, "that one is for another service");
}
