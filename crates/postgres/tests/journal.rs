//! Ops commands on the journal: republish, read, verify, trace. Each command is delivered twice and executed once.

use contracts::aggregate::Command;
use contracts::replies::Reply;
use contracts::{
    Aggregate, DeactivateUser, Message as _, OpsCommand, ReadAggregate, ReadHistory, Rejection, Republish, Timestamp,
    UserCommand, UserDeactivated, UserEvent, VerifySnapshots, WhereIs,
};
use messaging::ledger::StoreError;
use messaging::{Failure, Outgoing, Received, Subscriptions, Unit};
use postgres::{Aggregates, Decided, Journal, Postgres, Store, Tx};
use serde_json::{Value, json};
use sqlx::migrate::Migrator;
use testing::{Bench, PostgresDatabase};
use uuid::Uuid;

contracts::state! {
    /// Counts words.
    #[derive(Debug, Default, Clone, PartialEq)]
    pub struct Tally {
        pub words: i64,
        pub last: String,
    }
}

impl Aggregate for Tally {
    const NAME: &'static str = "test.tally";
    type Command = UserCommand;
    type DomainEvent = UserEvent;
    type Context = ();
    type Rejection = Rejection;

    /// `word` emits one domain event, `word*n` emits n of them.
    fn decide(&self, (): &(), command: &Command<UserCommand>) -> Result<Vec<UserEvent>, Rejection> {
        let UserCommand::DeactivateUser(DeactivateUser { reason }) = &command.body else {
            return Ok(Vec::new());
        };
        let (word, count) = reason.split_once('*').unwrap_or((reason, "1"));
        let event = UserDeactivated {
            reason: word.to_owned(),
            deactivated_at: command.time,
        };
        Ok(vec![event.into(); count.parse().expect("a number")])
    }

    fn evolve(&mut self, (): &mut (), _: Uuid, event: &UserEvent) {
        if let UserEvent::UserDeactivated(event) = event {
            self.words += 1;
            self.last.clone_from(&event.reason);
        }
    }
}

#[derive(Clone)]
struct NoRows;

impl Store<Tally> for NoRows {
    async fn context(&self, _: &mut Tx, _: &[Command<UserCommand>]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn write(&self, _: &mut Unit<Postgres>, _: &(), _: &mut [Decided<'_, Tally>]) -> Result<(), Failure> {
        Ok(())
    }
}

struct App {
    bench: Bench<Postgres>,
    database: PostgresDatabase,
}

impl App {
    async fn start() -> Self {
        let database = testing::postgres(&Migrator::DEFAULT).await;
        let subscriptions = Subscriptions::new()
            .handle(|| Aggregates::<Tally, _>::new(NoRows))
            .handle_ops(Journal::<Tally>::new());
        let (ledger, inside) = (database.ledger(), database.ledger());
        Self {
            bench: Bench::new("user", ledger, inside, subscriptions),
            database,
        }
    }

    /// Sends one command per word. Returns the ids of the commands.
    async fn publish(&self, key: Uuid, words: &[&str]) -> Vec<Uuid> {
        let mut ids = Vec::new();
        for word in words {
            let reason = (*word).to_owned();
            ids.push(
                self.bench
                    .deliver(Outgoing::<UserCommand>::new(key, DeactivateUser { reason }))
                    .await,
            );
        }
        ids
    }

    async fn execute(&self, command: impl Into<OpsCommand>) -> Result<Value, String> {
        let command = Outgoing::<OpsCommand>::new(Uuid::now_v7(), command.into());
        let id = self.bench.deliver(command).await;
        self.bench.deliver_again().await;
        match self.bench.reply(id).await {
            Reply::CommandAccepted(reply) => {
                let result = reply.result.expect("the reply to an ops command has a result");
                Ok(serde_json::from_str(&result).expect("the result is JSON"))
            }
            Reply::CommandRejected(reply) => Err(reply.code),
            Reply::CommandFailed(reply) => panic!("{reply:?}"),
        }
    }
}

fn user() -> String {
    "user".to_owned()
}

fn republish(aggregate_id: Uuid, from_version: i64, to_version: Option<i64>) -> Republish {
    Republish {
        service: user(),
        aggregate_id,
        from_version,
        to_version,
    }
}

#[tokio::test]
async fn domain_events_are_republished_unchanged() {
    let app = App::start().await;
    let key = Uuid::now_v7();
    app.publish(key, &["a", "b", "c"]).await;
    let published = app.bench.published_with_envelopes::<UserEvent>().await;

    let result = app.execute(republish(key, 2, None)).await;
    assert_eq!(result, Ok(json!({ "published": 2, "next_version": null })));
    let again = app.bench.published_with_envelopes::<UserEvent>().await;
    assert_eq!(again.len(), 2, "once, although the ops command is delivered twice");
    for (again, published) in again.iter().zip(&published[1..]) {
        assert_eq!(again.body, published.body);
        let (mut again, mut published) = (again.envelope.clone(), published.envelope.clone());
        for envelope in [&mut again, &mut published] {
            (envelope.trace_parent, envelope.trace_state) = (None, None);
        }
        assert_eq!(again, published);
    }

    assert_eq!(
        app.execute(republish(key, 1, Some(1))).await.expect("done")["published"],
        1
    );
    for (from, to) in [(0, None), (4, None), (1, Some(4)), (3, Some(2))] {
        let code = app.execute(republish(key, from, to)).await;
        assert_eq!(code, Err("versions-invalid".to_owned()), "{from} {to:?}");
    }
    let unknown = app.execute(republish(Uuid::now_v7(), 1, None)).await;
    assert_eq!(unknown, Err("aggregate-unknown".to_owned()));
}

#[tokio::test]
async fn a_long_stream_is_republished_in_parts() {
    let app = App::start().await;
    let key = Uuid::now_v7();
    app.publish(key, &["a*1000", "b*5"]).await;
    app.bench.published_with_envelopes::<UserEvent>().await;
    let first = app.execute(republish(key, 1, None)).await;
    assert_eq!(first, Ok(json!({ "published": 1_000, "next_version": 1_001 })));
    let rest = app.execute(republish(key, 1_001, None)).await;
    assert_eq!(rest, Ok(json!({ "published": 5, "next_version": null })));
    let published = app.bench.published_with_envelopes::<UserEvent>().await;
    let numbers: Vec<_> = published
        .iter()
        .filter_map(|message| message.envelope.sequence)
        .collect();
    assert_eq!(numbers, (1..=1_005).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_history_is_read_page_by_page() {
    let app = App::start().await;
    let key = Uuid::now_v7();
    let commands = app.publish(key, &["a", "b", "c"]).await;
    let read = |after_version, limit| ReadHistory {
        service: user(),
        aggregate_id: key,
        after_version,
        limit,
    };
    let first = app.execute(read(0, 2)).await.expect("done");
    assert_eq!((&first["version"], &first["after_version"]), (&json!(3), &json!(2)));
    let event = &first["events"][1];
    assert_eq!(
        (&event["version"], &event["causation_id"]),
        (&json!(2), &json!(commands[1]))
    );
    assert_eq!(event["type"], "rollcall.users.UserDeactivated");
    assert_eq!(event["content"]["reason"], "b");
    let second = app.execute(read(2, 2)).await.expect("done");
    assert_eq!(second["events"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["after_version"], Value::Null);
}

#[tokio::test]
async fn an_aggregate_is_read_at_any_version_or_time() {
    let app = App::start().await;
    let key = Uuid::now_v7();
    let before = Timestamp::now();
    app.publish(key, &["a*600", "b"]).await;
    let between = Timestamp::now();
    app.publish(key, &["c"]).await;
    let read = |version, at| ReadAggregate {
        service: user(),
        aggregate_id: key,
        version,
        at,
    };
    for (version, at, expected) in [
        (None, None, (602, "c")),
        (Some(601), None, (601, "b")),
        (Some(1), None, (1, "a")),
        (None, Some(between), (601, "b")),
    ] {
        let result = app.execute(read(version, at)).await.expect("done");
        let (words, last) = expected;
        assert_eq!(
            (&result["version"], &result["newest_version"]),
            (&json!(words), &json!(602))
        );
        assert_eq!(result["state"], json!({ "words": words, "last": last }));
    }
    for (version, at) in [
        (Some(603), None),
        (Some(0), None),
        (None, Some(before)),
        (Some(1), Some(between)),
    ] {
        let code = app.execute(read(version, at)).await;
        assert_eq!(code, Err("versions-invalid".to_owned()), "{version:?} {at:?}");
    }
}

#[tokio::test]
async fn a_snapshot_that_differs_from_its_journal_is_reported() {
    let app = App::start().await;
    let [valid, wrong, old] = [(); 3].map(|()| Uuid::now_v7());
    for key in [valid, wrong, old] {
        app.publish(key, &["a*501"]).await;
    }
    let verify = || VerifySnapshots { service: user() };
    let no_mismatches = json!({ "snapshots": 3, "checked": 3, "unreadable": 0, "mismatches": [] });
    assert_eq!(app.execute(verify()).await, Ok(no_mismatches));

    let change = "UPDATE snapshots SET state = $2 WHERE stream_id = $1";
    for (key, state) in [(wrong, r#"{"words":500,"last":"a"}"#), (old, r#"{"sum":501}"#)] {
        let changed = sqlx::query(change)
            .bind(key)
            .bind(state)
            .execute(app.database.pool())
            .await;
        changed.expect("the snapshot is changed");
    }
    let found = json!({
        "snapshots": 3, "checked": 3, "unreadable": 1,
        "mismatches": [{ "aggregate_id": wrong, "version": 501 }],
    });
    assert_eq!(app.execute(verify()).await, Ok(found));
}

#[tokio::test]
async fn snapshots_are_verified_page_by_page() {
    let app = App::start().await;
    let wrong = Uuid::now_v7();
    app.publish(wrong, &["a*501"]).await;
    let copies = "
        WITH moved AS (UPDATE snapshots SET state = '{\"words\":500,\"last\":\"a\"}' RETURNING stream_id, aggregate),
             streams AS (INSERT INTO streams (stream_id, aggregate, version)
                         SELECT gen_random_uuid(), aggregate, 501 FROM moved, generate_series(1, 350)
                         RETURNING stream_id, aggregate, version)
        INSERT INTO snapshots (stream_id, aggregate, version, state)
        SELECT stream_id, aggregate, version, '{\"sum\":501}' FROM streams";
    let copied = sqlx::query(copies).execute(app.database.pool()).await;
    copied.expect("the snapshots are stored");
    // The first snapshot is a random one.
    for _ in 0..3 {
        let verify = VerifySnapshots { service: user() };
        let found = json!({
            "snapshots": 351, "checked": 351, "unreadable": 350,
            "mismatches": [{ "aggregate_id": wrong, "version": 501 }],
        });
        assert_eq!(app.execute(verify).await, Ok(found));
    }
}

#[tokio::test]
async fn a_command_is_traced_to_its_domain_events() {
    let app = App::start().await;
    let key = Uuid::now_v7();
    let commands = app.publish(key, &["a", "b"]).await;
    let published: Vec<Received<UserEvent>> = app.bench.published_with_envelopes().await;
    for id in [commands[1], published[1].envelope.id] {
        let question = WhereIs {
            service: user(),
            message_id: id,
        };
        let found = app.execute(question).await.expect("done");
        let journal = found["journal"].as_array().expect("a list");
        assert_eq!(journal.len(), 1, "{found}");
        assert_eq!(
            (&journal[0]["aggregate_id"], &journal[0]["version"]),
            (&json!(key), &json!(2))
        );
        assert_eq!(journal[0]["type"], published[1].body.type_name());
    }
}
