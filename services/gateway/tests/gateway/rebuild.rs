//! Rebuilding read models from their topics.

use bytes::Bytes;
use contracts::{
    EventCancelled, EventEvent, Message, NotificationFact, NotificationKind, NotificationSent, OpsCommand,
    RegistrationEvent, Replay, Reply, SeatConfirmed, SeatWaitlisted, Timestamp, UserCreated, UserDeactivated,
    UserEvent, UserProfileState,
};
use messaging::{Cause, Outgoing, Record, TopicPartition};
use serde_json::{Value, json};
use testing::KafkaTopics;
use uuid::Uuid;

use crate::app::{TestApp, event_created, event_published, profile, roster_opened};

/// A gateway whose topics are also on the broker.
struct Logged {
    app: TestApp,
    kafka: KafkaTopics,
}

impl Logged {
    async fn start() -> Self {
        let kafka = KafkaTopics::create(1).await;
        Self {
            app: TestApp::start_on(&kafka).await,
            kafka,
        }
    }

    /// Publishes messages with their sequence to the broker, and delivers them to the gateway.
    async fn publish<M: Message>(&self, messages: Vec<Outgoing<M>>) {
        let cause = Cause::origin(Uuid::now_v7(), None, Default::default());
        let topic = self.kafka.name(M::TOPIC);
        let record = |message| {
            let message = self
                .app
                .bench
                .publisher()
                .frame(&cause, message)
                .expect("the message is not too large");
            Record {
                partition: TopicPartition::new(topic.as_str(), 0),
                offset: -1,
                timestamp: Timestamp::now(),
                key: Some(Bytes::from(message.key.to_string())),
                value: message.value,
                headers: message.headers,
            }
        };
        let records: Vec<Record> = messages.into_iter().map(record).collect();
        self.kafka.produce(&records).await;
        self.app.bench.deliver_records(records).await;
    }

    async fn events(&self, event: Uuid, first: i64, facts: Vec<EventEvent>) {
        let message = |(number, fact)| Outgoing::<EventEvent>::new(event, fact).sequence(number);
        self.publish((first..).zip(facts).map(message).collect()).await;
    }

    async fn replay(&self, projection: &str) -> Reply {
        let replay = Replay {
            service: "gateway".to_owned(),
            projection: projection.to_owned(),
        };
        self.app
            .bench
            .request(Outgoing::<OpsCommand>::new(Uuid::now_v7(), replay))
            .await
    }

    /// Rebuilds a projection and returns the rows of each table with the numbers of missing, changed and surplus rows.
    async fn differences(&self, projection: &str) -> Vec<(String, [i64; 4])> {
        let reply = self.replay(projection).await;
        let Reply::CommandAccepted(accepted) = reply else {
            panic!("the rebuild was not accepted: {reply:?}");
        };
        let report: Value = serde_json::from_str(&accepted.result.expect("a report")).expect("JSON");
        let tables = report["tables"].as_array().expect("tables");
        let counted = |table: &Value| {
            let number = |name: &str| table[name].as_i64().expect("a number");
            let name = table["table"].as_str().expect("a name").to_owned();
            (name, ["rows", "missing", "changed", "surplus"].map(number))
        };
        tables.iter().map(counted).collect()
    }

    async fn run(&self, statement: &str) {
        let ran = sqlx::raw_sql(statement).execute(self.app.database.pool()).await;
        ran.expect("the statement is valid");
    }
}

fn difference(table: &str, counts: [i64; 4]) -> (String, [i64; 4]) {
    (table.to_owned(), counts)
}

#[tokio::test]
async fn a_rebuilt_read_model_matches_its_topic_and_continues() {
    let logged = Logged::start().await;
    let (organizer, one, two) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    for event in [one, two] {
        let facts = vec![event_created(organizer).into(), event_published(organizer).into()];
        logged.events(event, 1, facts).await;
    }
    let unchanged = [
        difference("events", [2, 0, 0, 0]),
        difference("event_history", [4, 0, 0, 0]),
    ];
    assert_eq!(logged.differences("events").await, unchanged);

    logged
        .run(&format!(
            "UPDATE events SET title = 'Wrong title' WHERE id = '{one}'; DELETE FROM events WHERE id = '{two}';
             INSERT INTO event_history SELECT event_id, 99, type, at, actor, correlation_id, content, state
             FROM event_history WHERE event_id = '{one}' AND version = 1"
        ))
        .await;
    let repaired = [
        difference("events", [2, 1, 1, 0]),
        difference("event_history", [4, 0, 0, 1]),
    ];
    assert_eq!(logged.differences("events").await, repaired);
    assert_eq!(logged.differences("event_history").await, unchanged);
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'rebuild%'";
    assert_eq!(logged.app.count(schemas).await, 0);

    // The live read model continues from its position.
    let cancelled = EventCancelled {
        reason: "rain".to_owned(),
        cancelled_at: Timestamp::EPOCH,
    };
    logged.events(one, 3, vec![cancelled.into()]).await;
    let shown = logged
        .app
        .gateway
        .get(format!("/v1/events/{one}"))
        .send()
        .await
        .expect(200);
    assert_eq!(
        (&shown.body["title"], &shown.body["status"]),
        (&json!("Analytical Engines"), &json!("cancelled"))
    );
    assert_eq!(shown.body["version"], 3);
}

#[tokio::test]
async fn a_rebuild_recounts_seats() {
    let logged = Logged::start().await;
    let event = Uuid::now_v7();
    let seat = |fact: RegistrationEvent, number| Outgoing::<RegistrationEvent>::new(event, fact).sequence(number);
    let (registration_id, user_id) = (Uuid::now_v7(), Uuid::now_v7());
    let waiting = SeatWaitlisted {
        registration_id: Uuid::now_v7(),
        user_id: Uuid::now_v7(),
    };
    let facts = vec![
        seat(roster_opened(user_id).into(), 1),
        seat(
            SeatConfirmed {
                registration_id,
                user_id,
            }
            .into(),
            2,
        ),
        seat(waiting.into(), 3),
    ];
    logged.publish(facts).await;
    logged
        .run("UPDATE rosters SET taken = 7; UPDATE sequences SET last = 2 WHERE topic LIKE '%registrations'")
        .await;
    let repaired = [
        difference("rosters", [1, 0, 1, 0]),
        difference("registrations", [2, 0, 0, 0]),
    ];
    assert_eq!(logged.differences("registrations").await, repaired);
    assert_eq!(logged.app.count("SELECT taken * 10 + waiting FROM rosters").await, 11);
    // The sequence matches the applied messages, so nothing is counted twice.
    let last = "SELECT last FROM sequences WHERE topic LIKE '%registrations'";
    assert_eq!(logged.app.count(last).await, 3);
}

#[tokio::test]
async fn a_rebuild_does_not_repeat_other_effects_of_a_handler() {
    let logged = Logged::start().await;
    let user = Uuid::now_v7();
    let created = UserCreated {
        created_at: Timestamp::EPOCH,
    };
    let deactivated = UserDeactivated {
        reason: "requested by the user".to_owned(),
        deactivated_at: Timestamp::EPOCH,
    };
    let facts: [UserEvent; 2] = [created.into(), deactivated.into()];
    let message = |(number, fact)| Outgoing::<UserEvent>::new(user, fact).sequence(number);
    logged.publish((1..).zip(facts).map(message).collect()).await;
    // A repeated deactivation would delete the role.
    logged
        .run(&format!(
            "INSERT INTO roles (user_id, role) VALUES ('{user}', 'auditor'); DELETE FROM users"
        ))
        .await;
    assert_eq!(logged.differences("users").await, [difference("users", [1, 1, 0, 0])]);
    assert_eq!(logged.app.count("SELECT count(*) FROM roles").await, 1);
}

#[tokio::test]
async fn profiles_and_notifications_are_rebuilt() {
    let logged = Logged::start().await;
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    let state = |key, name: &str, version| {
        let profile = profile(&format!("{name}@example.org"), name);
        Outgoing::<UserProfileState>::new(key, profile).sequence(version)
    };
    let tombstone = Outgoing::<UserProfileState>::new(bob, UserProfileState::Tombstone).sequence(2);
    logged
        .publish(vec![state(ada, "ada", 1), state(bob, "bob", 1), tombstone])
        .await;
    let sent = NotificationSent {
        notification_id: Uuid::now_v7(),
        kind: NotificationKind::Welcome,
        cause_id: Uuid::now_v7(),
        sent_at: Timestamp::EPOCH,
        event_id: None,
    };
    logged
        .publish(vec![Outgoing::<NotificationFact>::new(ada, sent.clone())])
        .await;

    logged
        .run("UPDATE profiles SET full_name = 'Eve'; DELETE FROM notifications")
        .await;
    // Older than the retention of the topic.
    logged
        .run(&format!(
            "INSERT INTO notifications (id, user_id, kind, status, cause_id, at)
             VALUES (gen_random_uuid(), '{ada}', 'welcome', 'sent', gen_random_uuid(), now())"
        ))
        .await;
    let profiles = [difference("profiles", [1, 0, 1, 0])];
    assert_eq!(logged.differences("profiles").await, profiles);
    let mails = [difference("notifications", [2, 1, 0, 0])];
    assert_eq!(logged.differences("notifications").await, mails);
    assert_eq!(
        logged
            .app
            .count("SELECT count(*) FROM profiles WHERE full_name = 'Eve'")
            .await,
        0
    );

    // An erased user stays erased, even if an older profile is redelivered.
    logged.publish(vec![state(bob, "bob", 1)]).await;
    assert_eq!(logged.app.count("SELECT count(*) FROM profiles").await, 1);
}

#[tokio::test]
async fn parked_messages_stay_parked_after_a_rebuild() {
    let logged = Logged::start().await;
    let (organizer, event) = (Uuid::now_v7(), Uuid::now_v7());
    let cancelled = EventCancelled {
        reason: "rain".to_owned(),
        cancelled_at: Timestamp::EPOCH,
    };
    logged.events(event, 1, vec![event_created(organizer).into()]).await;
    logged.events(event, 3, vec![cancelled.into()]).await;
    assert_eq!(logged.app.bench.parked().await.len(), 1);
    let live = [
        difference("events", [1, 0, 0, 0]),
        difference("event_history", [1, 0, 0, 0]),
    ];
    assert_eq!(logged.differences("events").await, live);
    logged.run("DELETE FROM parked").await;
    assert_eq!(logged.differences("events").await, live);
    assert_eq!(logged.app.bench.parked().await.len(), 1);

    logged.events(event, 2, vec![event_published(organizer).into()]).await;
    let version = format!("SELECT version FROM events WHERE id = '{event}'");
    assert_eq!(logged.app.count(&version).await, 3);
    assert!(logged.app.bench.parked().await.is_empty());
}

#[tokio::test]
async fn an_unknown_read_model_is_rejected() {
    let logged = Logged::start().await;
    let Reply::CommandRejected(rejected) = logged.replay("credentials").await else {
        panic!("the projection must be unknown");
    };
    assert_eq!(rejected.code, "projection-unknown");
    assert!(rejected.detail.contains("event_history"));
}
