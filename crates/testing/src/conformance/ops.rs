//! Ops commands that every service handles. Each command is delivered twice and executed once.

use std::time::Duration;

use bytes::Bytes;
use contracts::replies::Reply;
use contracts::{
    CreateUser, Date, DeadLetterReason, DiscardDeadLetter, DiscardParked, FindDeadLetters, FindParked, OpsCommand,
    RedriveDeadLetter, Registry, Replay, ShowDeadLetter, UserCommand, VerifySnapshots, WhereIs, topics,
};
use messaging::ledger::{DeadLetter, DeliveryLog as _, StoreErrorKind, Transactions as _};
use messaging::{Outgoing, Unit, header};
use serde_json::{Value, json};
use uuid::Uuid;

use super::service::{Service, Store, happened, order};
use crate::faulty::CommitFault;

/// Delivers an ops command twice and returns its only reply.
async fn request<S: Store>(service: &Service<S>, command: impl Into<OpsCommand>) -> Reply {
    let command = Outgoing::<OpsCommand>::new(Uuid::now_v7(), command.into());
    let id = service.deliver(command).await;
    service.deliver_again().await;
    service.reply(id).await
}

/// Returns the `result` of an accepted ops command.
async fn result_of<S: Store>(service: &Service<S>, command: impl Into<OpsCommand>) -> Value {
    match request(service, command).await {
        Reply::CommandAccepted(reply) => {
            let result = reply.result.expect("the reply has a result");
            serde_json::from_str(&result).expect("the result is JSON")
        }
        other => panic!("expected acceptance: {other:?}"),
    }
}

/// Returns the code of a rejected ops command.
async fn code_of<S: Store>(service: &Service<S>, command: impl Into<OpsCommand>) -> String {
    match request(service, command).await {
        Reply::CommandRejected(reply) => reply.code,
        other => panic!("expected a rejection: {other:?}"),
    }
}

fn service_name() -> String {
    "conformance".to_owned()
}

/// An erasure deletes every message that may contain personal data, and keeps all other messages.
pub async fn erasing_keys_removes_personal_data<S: Store>() {
    let service = Service::<S>::start().await;
    let (key, other) = (Uuid::now_v7(), Uuid::now_v7());
    for key in [key, other] {
        service
            .deliver_all(["poison:well", "later"].map(|word| order(key, word)))
            .await;
        // The same sequence with another id leads to a dead letter of a domain event, which contains no personal data.
        service.deliver_all([(); 2].map(|()| happened(key, 1, ""))).await;
    }
    let mut misplaced = service.record(order(key, "add"));
    misplaced.key = Some(other.to_string().into());
    service.deliver_records(vec![misplaced]).await;
    assert_eq!(service.dead_letters().await.len(), 5);
    let remembered = service.inside().inbox_entries().await;

    for _ in 0..2 {
        let unit = Unit::begin(service.ledger(), &service.publisher()).await;
        let mut unit = unit.expect("a transaction begins");
        unit.erase(&[key]).await.expect("the keys are erased");
        unit.commit().await.expect("committed");
    }

    let dead_letters = service.dead_letters().await;
    let left: Vec<_> = dead_letters
        .iter()
        .map(|dead_letter| dead_letter.record.headers.get(header::SUBJECT))
        .collect();
    let (key_text, other_text) = (key.to_string(), other.to_string());
    assert_eq!(left, [Some(key_text.as_str()), Some(&other_text), Some(&other_text)]);
    assert!(dead_letters[0].record.partition.topic.ends_with("events"));
    let delayed = service.delayed::<UserCommand>().await;
    let delayed: Vec<_> = delayed.iter().map(|message| message.envelope.key).collect();
    assert_eq!(delayed, [other]);
    assert_eq!(service.inside().inbox_entries().await, remembered);
}

/// A service executes its own ops commands in the transaction of the reply. A command without a handler is rejected.
pub async fn a_service_handles_its_own_ops_commands<S: Store>() {
    let service = Service::<S>::start().await;
    let replay = |service: &str, projection: &str| Replay {
        service: service.to_owned(),
        projection: projection.to_owned(),
    };
    assert_eq!(
        result_of(&service, replay("conformance", "notes")).await,
        json!({ "noted": true })
    );
    assert_eq!(service.store.effects().await.len(), 1);
    assert_eq!(
        code_of(&service, replay("conformance", "songs")).await,
        "projection-unknown"
    );
    let unhandled = VerifySnapshots {
        service: service_name(),
    };
    assert_eq!(code_of(&service, unhandled).await, "unsupported");

    let others = Outgoing::<OpsCommand>::new(Uuid::now_v7(), replay("another-service", "notes"));
    let id = service.deliver(others).await;
    assert_eq!(
        service.replies(id).await.len(),
        0,
        "a command for another service gets no reply"
    );
}

/// Every parked key is listed, page by page, with the reason.
pub async fn parked_keys_are_found<S: Store>() {
    let service = Service::<S>::start().await;
    let (poisoned, gap) = (Uuid::from_u128(1), Uuid::from_u128(2));
    service
        .deliver_all([happened(poisoned, 1, "poison:well"), happened(poisoned, 2, "")])
        .await;
    service.deliver_all([happened(gap, 1, ""), happened(gap, 3, "")]).await;
    service.parked().await;
    let find = |cursor: Option<&str>| FindParked {
        service: service_name(),
        cursor: cursor.map(ToOwned::to_owned),
        limit: 1,
    };

    let first = result_of(&service, find(None)).await;
    let mut key = first["keys"][0].clone();
    assert!(key["age_ms"].take().as_i64().expect("a number") < 60_000);
    let error = key["error"].take();
    assert!(
        error
            .as_str()
            .expect("the key has an error")
            .contains("well is not fixed"),
        "{error}"
    );
    let expected = json!({
        "topic": "events", "key": poisoned, "last": 0, "poisoned_at": 1, "waiting": 2, "error": null, "age_ms": null,
    });
    assert_eq!(key, expected);
    let second = result_of(&service, find(first["cursor"].as_str())).await;
    let key = &second["keys"][0];
    assert_eq!(
        (
            &key["key"],
            &key["last"],
            &key["poisoned_at"],
            &key["waiting"],
            &key["error"]
        ),
        (&json!(gap), &json!(1), &Value::Null, &json!(1), &Value::Null)
    );
    let third = result_of(&service, find(second["cursor"].as_str())).await;
    assert_eq!(third, json!({ "keys": [], "cursor": null }));
    assert_eq!(code_of(&service, find(Some("events"))).await, "cursor-invalid");
}

/// Operators see the content of a dead letter without personal fields.
pub async fn dead_letters_are_shown_without_personal_fields<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let ada = CreateUser {
        email: "ada@example.org".to_owned(),
        username: "ada_1815".to_owned(),
        full_name: "Ada Lovelace".to_owned(),
        date_of_birth: Date::from_ymd(1815, 12, 10).expect("a calendar date"),
        time_zone: "Europe/London".to_owned(),
    };
    let command = service.deliver(Outgoing::<UserCommand>::new(key, ada)).await; // the counter does not handle this command
    let mut junk = service.record(order(key, "add"));
    junk.value = Some(Bytes::from_static(b"ada@example.org"));
    service.deliver_records(vec![junk]).await;
    let dead_letters = service.dead_letters().await;
    let find = |cursor: Option<&str>| FindDeadLetters {
        service: service_name(),
        cursor: cursor.map(ToOwned::to_owned),
        limit: 1,
    };
    let show = |dead_letter_id: Uuid| ShowDeadLetter {
        service: service_name(),
        dead_letter_id,
    };

    let first = result_of(&service, find(None)).await;
    assert_eq!(first["dead_letters"][0]["reason"], "UNDECODABLE");
    let second = result_of(&service, find(first["cursor"].as_str())).await;
    let dead_letter = &second["dead_letters"][0];
    assert_eq!(dead_letter["id"], json!(dead_letters[0].id));
    assert_eq!(dead_letter["topic"], "users.commands");
    assert_eq!(dead_letter["message_id"], json!(command));
    assert_eq!(dead_letter["redriven_as"], Value::Null);
    assert!(dead_letter["dead_lettered_at"].is_string());
    let third = result_of(&service, find(second["cursor"].as_str())).await;
    assert_eq!(third, json!({ "dead_letters": [], "cursor": null }));

    let shown = result_of(&service, show(dead_letters[0].id)).await;
    assert_eq!(shown["content"], json!({ "time_zone": "Europe/London" }));
    assert_eq!(shown["key"], json!(key));
    assert_eq!(shown["headers"]["ce_id"], json!(command));
    let junk = result_of(&service, show(dead_letters[1].id)).await;
    assert_eq!((&junk["content"], &junk["bytes"]), (&Value::Null, &json!(15)));
    for shown in [shown, junk] {
        let text = shown.to_string();
        for personal in ["ada@", "ada_", "Lovelace", "1815-"] {
            assert!(!text.contains(personal), "{text}");
        }
    }
    assert_eq!(code_of(&service, show(Uuid::now_v7())).await, "dead-letter-unknown");
}

/// While the registry is down, a dead letter that needs it is shown without content.
pub async fn dead_letter_is_shown_while_the_registry_is_down<S: Store>() {
    let service = Service::<S>::with_registry_at(Registry::new("http://127.0.0.1:1")).await;
    let mut record = service.record(order(Uuid::now_v7(), "add"));
    record.value = Some([&[0], &i32::MAX.to_be_bytes()[..], &[2]].concat().into());
    let dead_letter = DeadLetter {
        id: Uuid::now_v7(),
        reason: DeadLetterReason::Undecodable,
        detail: String::new(),
        record,
    };
    let ledger = service.ledger();
    let mut tx = ledger.begin().await.expect("a transaction begins");
    let inserted = ledger
        .insert_dead_letters(&mut tx, std::slice::from_ref(&dead_letter))
        .await;
    inserted.expect("the dead letter is stored");
    ledger.commit(tx).await.expect("committed");
    assert_eq!(service.dead_letters().await.len(), 1);

    let show = ShowDeadLetter {
        service: service_name(),
        dead_letter_id: dead_letter.id,
    };
    let shown = tokio::time::timeout(Duration::from_secs(20), result_of(&service, show)).await;
    assert_eq!(
        shown.expect("the command does not wait for the registry")["content"],
        Value::Null
    );
}

/// A record whose schema the registry does not return blocks its partition until an operator skips it.
pub async fn a_record_that_waits_for_the_registry_can_be_skipped<S: Store>() {
    let service = Service::<S>::with_registry_at(Registry::new("http://127.0.0.1:1")).await;
    let key = Uuid::now_v7();
    service.deliver(order(key, "add")).await;
    let mut record = service.record(order(key, "add"));
    record.value = Some([&[0], &i32::MAX.to_be_bytes()[..], &[2]].concat().into());
    let partition = record.partition.clone();
    let skip = async {
        let ledger = service.ledger();
        let positions = ledger.positions(std::slice::from_ref(&partition)).await;
        let position = positions.expect("positions")[&partition];
        let mut tx = ledger.begin().await.expect("a transaction begins");
        let moved = ledger.advance(&mut tx, &partition, Some(position), position + 1).await;
        assert!(moved.expect("the store responds"));
        ledger.commit(tx).await.expect("committed");
    };
    let delivered = async { tokio::join!(service.deliver_records(vec![record]), skip) };
    let delivered = tokio::time::timeout(Duration::from_secs(20), delivered).await;
    delivered.expect("the partition continues");
    service.deliver(order(key, "add")).await;
    assert_eq!(service.versions(key).await, [1, 2]);
    assert_eq!(service.dead_letters().await.len(), 0);
}

/// Redriving a dead command executes it once, as a new command. A record that is not a command cannot be redriven.
pub async fn dead_command_is_redriven_once<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let dead = service.deliver(order(key, "poison:well")).await;
    let mut misplaced = service.record(order(key, "add"));
    misplaced.key = Some(Bytes::from(Uuid::now_v7().to_string()));
    // A record of a third-party producer: the added headers would make it too large for the broker.
    let mut large = service.record(order(key, "add"));
    large.value = Some(Bytes::from(vec![1; 1_020 * 1024]));
    service.deliver_records(vec![misplaced, large]).await;
    service.deliver_all([(); 2].map(|()| happened(key, 1, ""))).await;
    let dead_letters = service.dead_letters().await;
    let dead_letter_of = |reason: DeadLetterReason| {
        let dead_letter = dead_letters.iter().find(|dead_letter| dead_letter.reason == reason);
        dead_letter.expect("a dead letter with this reason exists").id
    };
    let redrive = |dead_letter_id: Uuid| RedriveDeadLetter {
        service: service_name(),
        dead_letter_id,
    };

    service.hooks.fix("well");
    let done = result_of(&service, redrive(dead_letter_of(DeadLetterReason::Poison))).await;
    let redriven: Uuid = serde_json::from_value(done["command_id"].clone()).expect("an id");
    service.settle().await;
    service.deliver_again().await;
    assert!(matches!(service.reply(redriven).await, Reply::CommandAccepted(reply) if reply.version == 1));
    assert_eq!(service.versions(key).await, [1]);
    let published = service.published_with_envelopes::<UserCommand>().await;
    assert_eq!((published.len(), published[0].envelope.id), (1, redriven));
    assert_eq!(published[0].envelope.causation_id, Some(dead));
    assert_eq!(
        published[0].envelope.correlation_id, dead,
        "the redriven command keeps the correlation id"
    );

    let twice = redrive(dead_letter_of(DeadLetterReason::Poison));
    assert_eq!(code_of(&service, twice).await, "already-redriven");
    let fork = redrive(dead_letter_of(DeadLetterReason::Fork));
    assert_eq!(code_of(&service, fork).await, "not-a-command");
    let large = redrive(dead_letter_of(DeadLetterReason::Undecodable));
    assert_eq!(code_of(&service, large).await, "too-large");
    let misplaced = redrive(dead_letter_of(DeadLetterReason::WrongKey));
    assert_eq!(code_of(&service, misplaced).await, "no-envelope");
    assert_eq!(code_of(&service, redrive(Uuid::now_v7())).await, "dead-letter-unknown");
}

/// A discarded dead letter is deleted permanently.
pub async fn dead_letter_is_discarded<S: Store>() {
    let service = Service::<S>::start().await;
    for _ in 0..2 {
        service.deliver(order(Uuid::now_v7(), "poison:well")).await;
    }
    let dead_letters = service.dead_letters().await;
    let discard = || DiscardDeadLetter {
        service: service_name(),
        dead_letter_id: dead_letters[0].id,
    };
    assert_eq!(
        result_of(&service, discard()).await,
        json!({ "discarded": dead_letters[0].id })
    );
    assert_eq!(code_of(&service, discard()).await, "dead-letter-unknown");
    assert_eq!(service.dead_letters().await, dead_letters[1..]);
}

/// A service reports everything that it knows about a message.
pub async fn message_is_traced<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let where_is = |message_id: Uuid| WhereIs {
        service: service_name(),
        message_id,
    };
    let done = service.deliver(order(key, "later")).await;
    let early = service.deliver(order(key, "from:9")).await;
    let dead = service.deliver(order(key, "poison:well")).await;
    let applied = service.deliver(happened(key, 1, "")).await;
    let parked = service.deliver(happened(key, 3, "")).await;
    service.dead_letters().await;
    service.parked().await;

    let found = result_of(&service, where_is(done)).await;
    assert_eq!((&found["inbox"], &found["version"]), (&json!([0]), &json!(1)));
    assert_eq!(
        found["delayed"][0]["message_type"],
        "rollcall.users.commands.DeactivateUser"
    );
    let found = result_of(&service, where_is(early)).await;
    assert_eq!((&found["inbox"], &found["version"]), (&json!([0]), &Value::Null));
    assert_eq!(found["delayed"][0]["attempt"], 1);
    let found = result_of(&service, where_is(dead)).await;
    assert_eq!(found["dead_letters"][0]["reason"], "POISON");
    let found = result_of(&service, where_is(applied)).await;
    assert_eq!(
        found["applied"],
        json!([{ "topic": "events", "key": key, "sequence": 1 }])
    );
    let found = result_of(&service, where_is(parked)).await;
    assert_eq!(
        (&found["parked"][0]["sequence"], &found["inbox"]),
        (&json!(3), &json!([]))
    );
    assert_eq!(found["parked"][0]["topic"], topics::EVENTS.name);
    let unknown = json!({
        "outbox": [], "delayed": [], "inbox": [], "applied": [], "parked": [], "dead_letters": [], "version": null,
    });
    assert_eq!(result_of(&service, where_is(Uuid::now_v7())).await, unknown);
}

/// An ops command that the store fails is attempted several times and then rejected, so that it does not block the commands
/// behind it.
pub async fn a_failing_ops_command_is_rejected_after_several_attempts<S: Store>() {
    let service = Service::<S>::start().await;
    let fail = |times: usize| {
        for _ in 0..times {
            service.faults.fail("find_message", StoreErrorKind::Unavailable);
        }
    };
    let command = || WhereIs {
        service: service_name(),
        message_id: Uuid::now_v7(),
    };
    fail(2);
    assert_eq!(result_of(&service, command()).await["version"], Value::Null);

    fail(3);
    let find = FindParked {
        service: service_name(),
        cursor: None,
        limit: 10,
    };
    let commands: [OpsCommand; 2] = [command().into(), find.into()];
    let commands = commands.map(|command| Outgoing::<OpsCommand>::new(Uuid::now_v7(), command));
    let ids = commands.each_ref().map(|command| command.id);
    service.deliver_all(commands).await;
    service.deliver_again().await;
    let Reply::CommandRejected(rejected) = service.reply(ids[0]).await else {
        panic!("the command is rejected");
    };
    assert_eq!(rejected.code, "unavailable");
    assert!(rejected.detail.contains("a test ordered this fault"), "{rejected:?}");
    assert!(matches!(service.reply(ids[1]).await, Reply::CommandAccepted(_)));

    // The same request as a new command.
    assert_eq!(result_of(&service, command()).await["version"], Value::Null);
}

fn discard(key: Uuid, sequence: i64) -> DiscardParked {
    DiscardParked {
        service: service_name(),
        topic: topics::EVENTS.name.to_owned(),
        parked_key: key,
        sequence,
        message_id: None,
        reason: "malformed".to_owned(),
    }
}

/// A malformed record that took the number of a domain event blocks its key until an operator discards it. The domain event
/// is then published again, and the key continues.
pub async fn a_discarded_record_makes_way_for_the_genuine_event<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let mut malformed = service.record(happened(key, 2, ""));
    malformed.value = Some(Bytes::from_static(b"junk"));
    let genuine = service.record(happened(key, 2, ""));
    service.deliver(happened(key, 1, "")).await;
    service.deliver_records(vec![malformed]).await;
    service.deliver_records(vec![genuine.clone()]).await;
    service.deliver_all([happened(key, 3, ""), happened(key, 4, "")]).await;
    assert_eq!(service.numbers(key).await, [1]);
    assert_eq!(service.dead_letters().await[0].reason, DeadLetterReason::Fork);
    let parked = service.parked().await;
    assert_eq!(parked.iter().map(|row| row.sequence).collect::<Vec<_>>(), [2, 3, 4]);

    let refused = [
        (
            "reason-missing",
            DiscardParked {
                reason: " ".to_owned(),
                ..discard(key, 2)
            },
        ),
        (
            "topic-unknown",
            DiscardParked {
                topic: "no-topic".to_owned(),
                ..discard(key, 2)
            },
        ),
        (
            "message-differs",
            DiscardParked {
                message_id: Some(Uuid::now_v7()),
                ..discard(key, 2)
            },
        ),
        ("not-parked", discard(key, 5)),
        ("not-parked", discard(Uuid::now_v7(), 2)),
    ];
    for (code, command) in refused {
        assert_eq!(code_of(&service, command).await, code);
    }
    assert_eq!(service.parked().await, parked);

    let named = DiscardParked {
        message_id: Some(parked[0].id),
        ..discard(key, 2)
    };
    let expected = json!({ "message_id": parked[0].id, "last": 1, "poisoned_at": null });
    assert_eq!(result_of(&service, named).await, expected);
    assert_eq!(code_of(&service, discard(key, 2)).await, "not-parked");
    service.deliver_records(vec![genuine]).await;
    service.deliver(happened(key, 5, "")).await;
    assert_eq!(service.numbers(key).await, [1, 2, 3, 4, 5]);
    assert_eq!(service.parked().await, []);
}

/// A malformed record is discarded before it becomes the next one of its key. A key without parked records is not listed.
pub async fn a_record_behind_a_gap_can_be_discarded<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let mut malformed = service.record(happened(key, 3, ""));
    malformed.value = Some(Bytes::from_static(b"junk"));
    service.deliver(happened(key, 1, "")).await;
    service.deliver_records(vec![malformed]).await;
    assert_eq!(service.parked().await.len(), 1);

    service.faults.fail("lock_position", StoreErrorKind::Unavailable);
    service.faults.commit(CommitFault::UnknownCommitted);
    let discarded = result_of(&service, discard(key, 3)).await;
    assert_eq!(
        (&discarded["last"], &discarded["poisoned_at"]),
        (&json!(1), &Value::Null)
    );
    let find = FindParked {
        service: service_name(),
        cursor: None,
        limit: 10,
    };
    assert_eq!(result_of(&service, find).await["keys"], json!([]));
    service.deliver_all([happened(key, 3, ""), happened(key, 2, "")]).await;
    assert_eq!(service.numbers(key).await, [1, 2, 3]);
    assert_eq!(service.parked().await, []);
}
