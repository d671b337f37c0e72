//! Commands and boot checks on a broker that is just restarting: their clients see a cluster without brokers once.

use std::time::Duration;

use contracts::topics;
use messaging::TopicPartition;
use messaging::kafka::Settings;
use testing::{KafkaProxy, KafkaTopics};

/// The `client.id` of clients without a role.
const CLIENT: &str = "rollcall";

async fn proxied(kafka: &KafkaTopics) -> (KafkaProxy, Settings) {
    let proxy = KafkaProxy::start().await;
    let mut settings = kafka.settings();
    settings.brokers = proxy.brokers();
    proxy.hide_brokers(CLIENT, 1);
    (proxy, settings)
}

#[tokio::test]
async fn topics_are_created_although_the_first_client_saw_no_broker() {
    let kafka = KafkaTopics::create(1).await;
    let (proxy, settings) = proxied(&kafka).await;
    let created = messaging::topics::apply(&settings, &[&topics::EVENTS], 1).await;
    assert_eq!(created.expect("Kafka responds"), Vec::<String>::new());
    assert!(proxy.brokers_were_hidden(CLIENT));
}

#[tokio::test]
async fn no_topic_is_reported_missing_because_a_client_saw_no_broker() {
    let kafka = KafkaTopics::as_declared().await;
    let (proxy, settings) = proxied(&kafka).await;
    let differences = messaging::topics::differences(&settings, topics::ALL).await;
    assert_eq!(differences.expect("Kafka responds"), []);
    assert!(proxy.brokers_were_hidden(CLIENT));
}

#[tokio::test]
async fn a_log_is_read_although_the_first_client_saw_no_broker() {
    let kafka = KafkaTopics::create(1).await;
    let name = kafka.name(&topics::EVENTS);
    let (proxy, settings) = proxied(&kafka).await;
    let beginnings = messaging::read::beginnings(&settings, &name).await;
    let first = TopicPartition::new(&name, 0);
    assert_eq!(beginnings.expect("Kafka responds"), [(first.clone(), 0)]);
    assert!(proxy.brokers_were_hidden(CLIENT));

    proxy.hide_brokers(CLIENT, 1);
    let mut batches = messaging::read::read(&settings, first, 0, 10, 10);
    assert!(batches.recv().await.is_none(), "the log is empty");
    assert!(proxy.brokers_were_hidden(CLIENT));
}

#[tokio::test]
async fn a_read_that_gets_nothing_ends_with_an_error() {
    let kafka = KafkaTopics::create(1).await;
    let proxy = KafkaProxy::start().await;
    let mut settings = kafka.settings();
    settings.brokers = proxy.brokers();
    proxy.swallow_all_fetches();
    let first = TopicPartition::new(kafka.name(&topics::EVENTS), 0);
    let mut batches = messaging::read::read(&settings, first, 0, 10, 10);
    let read = tokio::time::timeout(Duration::from_secs(15), batches.recv()).await;
    let read = read.expect("it ends").expect("it ends with an error");
    read.expect_err("nothing was fetched");
}
