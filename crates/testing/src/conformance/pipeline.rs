//! Rules that apply to every kind of message.

use std::time::Duration;

use bytes::Bytes;
use contracts::replies::Reply;
use contracts::{
    DeadLetterReason, EventEvent, NotificationFact, NotificationFailed, NotificationKind, Timestamp, UserCommand,
    UserProfile, UserProfileState, topics,
};
use messaging::ledger::StoreErrorKind;
use messaging::{Outgoing, Record, header};
use uuid::Uuid;

use crate::faulty::CommitFault;

use super::service::{Entry, Service, Store, happened, order};

/// A batch has the same effects as its messages one by one.
pub async fn batch_equals_one_by_one<S: Store>() {
    let keys: Vec<_> = (0..3).map(|_| Uuid::now_v7()).collect();
    let words = [
        "add",
        "at-least:2",
        "claim:ada",
        "claim:ada",
        "from:9",
        "at-least:1",
        "later",
        "reject",
        "poison:well",
        "add",
    ];
    // The second run omits the messages that split a batch.
    for count in [words.len(), 7] {
        let commands: Vec<_> = words[..count]
            .iter()
            .enumerate()
            .map(|(index, word)| order(keys[index * 7 % 3], word))
            .collect();
        // Some messages are delivered twice, as Kafka may do.
        let batch: Vec<_> = commands
            .iter()
            .flat_map(|command| [command.clone(), command.clone()])
            .collect();
        let batch = || {
            batch
                .iter()
                .enumerate()
                .filter(|(index, _)| index % 4 != 1)
                .map(|(_, command)| command.clone())
        };

        let (together, single) = (Service::<S>::start().await, Service::<S>::start().await);
        together.deliver_all(batch()).await;
        for command in batch() {
            single.deliver(command).await;
        }
        assert_eq!(outcome(&together, &commands).await, outcome(&single, &commands).await);
        assert!(
            together.hooks.batches()[0].len() > 5,
            "the messages were handled in one batch"
        );
    }
}

type Outcome = (
    Vec<Entry>,
    Vec<(i64, String)>,
    Vec<String>,
    Vec<(Uuid, i32)>,
    Vec<DeadLetterReason>,
);

async fn outcome<S: Store>(service: &Service<S>, commands: &[Outgoing<UserCommand>]) -> Outcome {
    let mut replies = Vec::new();
    for command in commands {
        for reply in service.replies(command.id).await {
            replies.push(match reply {
                Reply::CommandAccepted(reply) => format!("accepted {} {:?}", reply.version, reply.effects),
                Reply::CommandRejected(reply) => format!("rejected {} {:?}", reply.code, reply.errors),
                Reply::CommandFailed(reply) => format!("failed {}", reply.code),
            });
        }
    }
    let delayed = service.delayed::<UserCommand>().await.into_iter();
    let mut delayed: Vec<_> = delayed
        .map(|message| (message.envelope.key, message.envelope.attempt))
        .collect();
    delayed.sort_unstable();
    let dead_letters = service.dead_letters().await;
    (
        service.store.journaled().await,
        service.users().await,
        replies,
        delayed,
        dead_letters.into_iter().map(|dead_letter| dead_letter.reason).collect(),
    )
}

/// The position's row lock makes every later read current.
pub async fn position_is_the_first_statement<S: Store>() {
    let service = Service::<S>::start().await;
    service.deliver(order(Uuid::now_v7(), "add")).await;
    service.deliver(happened(Uuid::now_v7(), 2, "")).await;
    service.deliver(profile(Uuid::now_v7(), 1)).await;
    service.parked().await;
    let calls = service.faults.calls();
    let starts: Vec<_> = calls.iter().enumerate().filter(|(_, call)| **call == "begin").collect();
    assert_eq!(starts.len(), 3);
    for (index, _) in starts {
        assert_eq!(calls[index + 1], "advance", "{calls:?}");
    }
}

/// Whichever statement fails, the batch is retried and takes effect once.
pub async fn a_failure_of_any_statement_loses_nothing<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let (mut number, mut names) = (0, 0);
    for kind in [
        StoreErrorKind::Unavailable,
        StoreErrorKind::Conflict,
        StoreErrorKind::Broken,
        StoreErrorKind::Unexpected,
    ] {
        for statement in 1..=6 {
            service.faults.fail_statement(statement, kind);
            names += 1;
            service.append(order(key, &format!("claim:{names}")));
            service.append(happened(key, number + 2, ""));
            service.append(happened(key, number + 1, ""));
            number += 2;
            service.catch_up().await;
        }
    }
    assert_eq!(service.versions(key).await, (1..=names).collect::<Vec<_>>());
    assert_eq!(service.numbers(key).await, (1..=number).collect::<Vec<_>>());
    assert_eq!(service.users().await.len() as i64, names);
    assert_eq!(service.inside().dead_letters().await, []);
}

/// An error that neither the data nor the infrastructure explains dead-letters no message, whichever call it occurs in.
pub async fn unexpected_store_error_waits_and_raises_an_alert<S: Store>() {
    const ALARM: &str = "rollcall_unexpected_store_errors_total";
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    service.faults.fail("insert_inbox", StoreErrorKind::Unavailable);
    service.deliver(order(key, "add")).await;
    assert_eq!(service.counted(ALARM), 0.0);

    for call in ["begin", "advance", "insert_inbox", "append", "commit", "positions"] {
        let before = service.counted(ALARM);
        service.faults.fail(call, StoreErrorKind::Unexpected);
        if call == "positions" {
            service.faults.commit(CommitFault::UnknownCommitted);
        }
        service.deliver_all([order(key, "add"), order(key, "add")]).await;
        assert_eq!(service.counted(ALARM), before + 1.0, "{call}");
    }
    service.faults.fail("sequences", StoreErrorKind::Unexpected);
    service.deliver(happened(key, 1, "")).await;

    assert_eq!(service.versions(key).await, (1..=13).collect::<Vec<_>>());
    assert_eq!(service.numbers(key).await, [1]);
    assert_eq!(service.counted(ALARM), 7.0);
    assert_eq!(service.inside().dead_letters().await, []);
}

/// A name that was free when it was read is taken when it is claimed. The commands are retried one by one, with fresh
/// state.
pub async fn a_conflict_is_decided_again<S: Store>() {
    let service = Service::<S>::with_partitions(2).await;
    let other = service.another();
    let [one, two] = [Uuid::from_u128(2), Uuid::from_u128(3)]; // on different partitions
    let (first, second) = (order(one, "claim:ada"), order(two, "claim:ada"));
    let ids = [first.id, second.id];
    service.append(first);
    service.append(second);
    super::race(
        &service.faults,
        service.catch_up_on(&topics::USERS_COMMANDS, 0),
        &other.faults,
        other.catch_up_on(&topics::USERS_COMMANDS, 1),
    )
    .await;
    assert!(matches!(service.reply(ids[0]).await, Reply::CommandAccepted(_)));
    assert!(matches!(service.reply(ids[1]).await, Reply::CommandRejected(reply) if reply.code == "taken"));
}

/// A message that makes the handler panic is poison. Its neighbours and the process continue.
pub async fn panic_is_poison<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let (before, bad, after) = (order(key, "add"), order(key, "panic"), order(key, "add"));
    let ids = [before.id, bad.id, after.id];
    service.deliver_all([before, bad, after]).await;
    service
        .deliver_all([happened(key, 1, "panic"), happened(key, 2, "")])
        .await;

    assert_eq!(service.versions(key).await, [1, 2]);
    assert!(matches!(service.reply(ids[1]).await, Reply::CommandFailed(_)));
    assert_eq!(service.dead_letters().await.len(), 1);
    assert_eq!(service.parked().await.len(), 2);
}

/// Each fact is applied once, in any order. A fact cannot be rejected or deferred; trying to do so dead-letters it.
pub async fn facts_are_applied_once<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let fact = fact(key, "");
    service.deliver_all([fact.clone(), fact.clone()]).await;
    service.deliver_again().await;
    assert_eq!(service.numbers(key).await, [0]);

    let mut unknown = service.record(self::fact(key, ""));
    unknown
        .headers
        .set(header::TYPE, "rollcall.notifications.NotificationRead");
    service.deliver_records(vec![unknown]).await;
    assert_eq!(service.inside().dead_letters().await, [], "an unknown fact is skipped");

    for word in ["reject", "too-early", "poison:well"] {
        service.deliver(self::fact(key, word)).await;
        service.deliver_again().await;
    }
    let dead_letters = service.dead_letters().await;
    assert_eq!(dead_letters.len(), 3);
    assert!(
        dead_letters
            .iter()
            .all(|dead_letter| dead_letter.reason == DeadLetterReason::Poison)
    );
    assert_eq!(service.numbers(key).await, [0]);
    assert!(service.published::<NotificationFact>().await.is_empty());
}

/// The newest state message wins, in any order of delivery.
pub async fn newest_state_wins<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    service.deliver(profile(key, 5)).await;
    service.deliver_again().await;
    service.deliver(profile(key, 3)).await;
    service
        .deliver_all([profile(key, 9), profile(key, 7), profile(key, 12)])
        .await;
    service.deliver(profile(key, 11)).await;
    assert_eq!(service.numbers(key).await, [5, 9, 12]);

    let mut bad = service.record(profile(key, 13));
    bad.value = Some(Bytes::from_static(b"junk"));
    service.deliver_records(vec![bad]).await;
    assert_eq!(service.dead_letters().await.len(), 1);
    service.deliver(profile(key, 14)).await;
    assert_eq!(service.numbers(key).await, [5, 9, 12, 14]);
}

/// A batch is retried if the store does not respond, even if only the response to the commit is missing.
pub async fn a_hanging_transaction_times_out<S: Store>() {
    for call in ["insert_inbox", "commit", "committed"] {
        let service = Service::<S>::over(S::fresh().await, |settings| {
            settings.transaction_limit = Duration::from_millis(300);
        });
        let key = Uuid::now_v7();
        let hangs = service.faults.pause_before(call);
        let commands = [order(key, "add"), order(key, "at-least:1")];
        let ids = commands.each_ref().map(|command| command.id);
        service.deliver_all(commands).await;
        drop(hangs);
        service.deliver_again().await;
        assert_eq!(service.versions(key).await, [1, 2], "{call}");
        for id in ids {
            assert!(matches!(service.reply(id).await, Reply::CommandAccepted(_)), "{call}");
        }
    }
}

/// A tombstone is a state message without a value and is ordered like any other state message.
pub async fn tombstone_is_the_newest_state<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    service.deliver(profile(key, 5)).await;
    let tombstone = || Outgoing::<UserProfileState>::new(key, UserProfileState::Tombstone).sequence(7);
    let record = service.record(tombstone());
    assert_eq!(record.value, None);
    assert_eq!(record.headers.get(header::DATA_SCHEMA), None);

    service.deliver_records(vec![record]).await;
    service.deliver_again().await;
    service.deliver(profile(key, 6)).await; // older than the tombstone, and delivered late
    assert_eq!(service.numbers(key).await, [5, 7]);
    assert_eq!(service.hooks.tombstones(), [key]);
    service.deliver(profile(key, 8)).await;
    assert_eq!(service.numbers(key).await, [5, 7, 8]);

    service.publish(tombstone()).await;
    let published = service.published_with_envelopes::<UserProfileState>().await;
    let published: Vec<_> = published
        .iter()
        .map(|message| (&message.body, message.envelope.key))
        .collect();
    assert_eq!(published, [(&UserProfileState::Tombstone, key)]);
}

/// An unknown command is closed. It is not left for a newer process that may know it.
pub async fn unknown_command_is_a_dead_letter<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let command = order(key, "add");
    let id = command.id;
    let mut record = service.record(command);
    record.headers.set(header::TYPE, "rollcall.users.commands.RenameUser");
    service.deliver_records(vec![record]).await;
    service.deliver_again().await;
    let dead_letters = service.dead_letters().await;
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(dead_letters[0].reason, DeadLetterReason::UnknownType);
    assert!(matches!(service.reply(id).await, Reply::CommandFailed(_)));
}

/// No record stops a partition, and no record leads to an outbox row that cannot be published.
pub async fn hostile_records_stop_no_partition<S: Store>() {
    type Corrupt = fn(&mut Record);
    let broken: [(&str, Corrupt); 30] = [
        ("no key", |record| record.key = None),
        ("a key that is not a UUID", |record| {
            record.key = Some(Bytes::from_static(b"ada"))
        }),
        ("a key that is not text", |record| {
            record.key = Some(Bytes::from_static(&[0xff, 0, 0xfe]))
        }),
        ("another subject", |record| {
            record.headers.set(header::SUBJECT, Uuid::nil().to_string())
        }),
        ("no headers", |record| record.headers.0.clear()),
        ("NUL in the type", |record| record.headers.set(header::TYPE, "a\0b")),
        ("a long type", |record| {
            record.headers.set(header::TYPE, "x".repeat(950 * 1024))
        }),
        ("a long actor", |record| {
            record
                .headers
                .set(header::ACTOR, format!("service:{}", "x".repeat(950 * 1024)))
        }),
        ("NUL in a third-party header", |record| record.headers.set("x-\0", "\0")),
        ("an escaped NUL in a third-party header", |record| {
            record.headers.set("x-\\u0000", "\\u0000 \\\u{0}")
        }),
        ("names that are operators or paths", |record| {
            for name in ["$where", "a.b", "_id", "__proto__", "ce_"] {
                record.headers.set(name, "$a.b");
            }
        }),
        ("empty names, more than once", |record| {
            record
                .headers
                .0
                .extend([("".to_owned(), "".to_owned()), ("".to_owned(), "a".to_owned())]);
        }),
        ("every header twice", |record| {
            let twice = record.headers.0.clone();
            record.headers.0.extend(twice);
        }),
        ("ten thousand headers", |record| {
            let many = (0..10_000).map(|index| (format!("x-{index}"), "\u{fffd}".to_owned()));
            record.headers.0.extend(many);
        }),
        ("NUL in the key", |record| record.key = Some(Bytes::from_static(b"\0"))),
        ("NUL in the trace", |record| {
            record.headers.set(header::TRACE_PARENT, "\0")
        }),
        ("a long trace state", |record| {
            record.headers.set(header::TRACE_STATE, "x".repeat(1024 * 1024))
        }),
        ("NUL in the actor", |record| {
            record.headers.set(header::ACTOR, "service:\0")
        }),
        ("a sequence that is not a number", |record| {
            record.headers.set(header::SEQUENCE, "one")
        }),
        ("a negative sequence", |record| {
            record.headers.set(header::SEQUENCE, "-1")
        }),
        ("sequence zero", |record| record.headers.set(header::SEQUENCE, "0")),
        ("the largest sequence", |record| {
            record.headers.set(header::SEQUENCE, i64::MAX.to_string())
        }),
        ("a sequence that is too large", |record| {
            record.headers.set(header::SEQUENCE, "9".repeat(30))
        }),
        ("the largest attempt", |record| {
            record.headers.set(header::ATTEMPT, i32::MAX.to_string())
        }),
        ("a negative attempt", |record| {
            record.headers.set(header::ATTEMPT, i32::MIN.to_string())
        }),
        ("a time long ago", |record| {
            record.headers.set(header::TIME, "0001-01-01T00:00:00Z")
        }),
        ("a due time in the distant future", |record| {
            record.headers.set(header::DUE_AT, "9999-12-31T23:59:59Z")
        }),
        ("an unknown reply topic", |record| {
            record.headers.set(header::REPLY_TO, "no-such-topic")
        }),
        ("a reply topic with NUL", |record| {
            record.headers.set(header::REPLY_TO, "a\0b")
        }),
        ("no value", |record| record.value = None),
    ];
    let service = Service::<S>::start().await;
    for (fault, corrupt) in broken {
        let mut records = vec![
            service.record(order(Uuid::now_v7(), "from:1")),
            service.record(order(Uuid::now_v7(), "reject")),
            service.record(order(Uuid::now_v7(), "add")),
            service.record(happened(Uuid::now_v7(), 1, "")),
            service.record(fact(Uuid::now_v7(), "")),
            service.record(profile(Uuid::now_v7(), 1)),
        ];
        for record in &mut records {
            corrupt(record);
        }
        let delivered = service.deliver_records(records);
        let in_time = tokio::time::timeout(Duration::from_secs(5), delivered).await;
        assert!(in_time.is_ok(), "{fault} stops a partition");
        let topics: Vec<_> = topics::ALL.iter().map(|topic| service.topic_name(topic)).collect();
        for (_, message) in service.inside().outbox().await {
            assert!(
                topics.contains(&message.topic),
                "{fault}: no topic {:?} exists",
                message.topic
            );
            let headers: usize = message
                .headers
                .0
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum();
            assert!(
                headers < 64 * 1024,
                "{fault}: {headers} bytes of headers to {}",
                message.topic
            );
        }
    }
    let key = Uuid::now_v7();
    service.deliver(order(key, "add")).await;
    service.deliver(happened(key, 1, "")).await;
    assert_eq!(
        (service.versions(key).await, service.numbers(key).await),
        (vec![1], vec![1])
    );
    service.parked().await;
    service.dead_letters().await;
}

/// The process ends in the middle of a transaction. Its successor resumes from the stored position and repeats nothing.
pub async fn a_crash_at_any_statement_loses_nothing<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    for (number, call) in (1..).zip([
        "begin",
        "advance",
        "insert_inbox",
        "append",
        "commit",
        "sequences",
        "set_sequences",
    ]) {
        service.append(order(key, "add"));
        service.append(happened(key, number, ""));
        let pause = service.faults.pause_before(call);
        tokio::select! {
            () = service.catch_up() => panic!("the test must pause at {call}"),
            () = pause.reached() => {} // the rest of the transaction is never executed
        }
        drop(pause);
        service.restart();
        service.catch_up().await;
        let all: Vec<_> = (1..=number).collect();
        assert_eq!(service.versions(key).await, all, "{call}");
        assert_eq!(service.numbers(key).await, all, "{call}");
    }
    assert_eq!(service.users().await.len(), 7);
}

/// A domain event is applied regardless of its age, because streams are replayed years later.
pub async fn old_domain_event_is_applied<S: Store>() {
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    let old = happened(key, 1, "").time(Timestamp::EPOCH);
    service.deliver(old).await;
    service.deliver_again().await;
    assert_eq!(
        service.numbers(key).await,
        [1],
        "the age of a domain event does not matter"
    );
    assert!(service.published::<EventEvent>().await.is_empty());
}

fn fact(key: Uuid, word: &str) -> Outgoing<NotificationFact> {
    let failed = NotificationFailed {
        notification_id: Uuid::now_v7(),
        kind: NotificationKind::Welcome,
        cause_id: Uuid::now_v7(),
        event_id: None,
        reason: word.to_owned(),
        failed_at: Timestamp::now(),
    };
    Outgoing::new(key, failed)
}

fn profile(key: Uuid, version: i64) -> Outgoing<UserProfileState> {
    let profile = UserProfile {
        email: "ada@example.org".to_owned(),
        username: "ada".to_owned(),
        full_name: "Ada Lovelace".to_owned(),
        date_of_birth: contracts::Date::from_ymd(1815, 12, 10).expect("a calendar date"),
        time_zone: "Europe/London".to_owned(),
        email_verified: true,
        reminders: true,
        announcements: false,
    };
    Outgoing::new(key, profile).sequence(version)
}
