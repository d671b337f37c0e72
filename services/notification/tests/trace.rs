//! The trace of a message continues into the e-mail that it causes. This test has its own process, because the tracer
//! provider is global.

use contracts::links::LinkKey;
use contracts::{NotificationFact, Timestamp, UserCreated, UserEvent, UserProfile, UserProfileState};
use messaging::{Outgoing, header};
use notification::mailer::{Mailer, MailerSettings};
use notification::metrics::Metrics;
use notification::server::{MailServer, SendError};
use notification::templates::{RenderedMail, Templates};
use notification::{MailQueues, store, subscriptions};
use opentelemetry::global;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use std::time::Duration;
use testing::{Bench, eventually};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A mail server that accepts every e-mail.
struct AcceptingServer;

impl MailServer for AcceptingServer {
    async fn send(&self, _: &RenderedMail) -> Result<(), SendError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_sent_in_the_trace_of_its_cause() {
    let spans = InMemorySpanExporter::default();
    global::set_tracer_provider(SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build());
    let database = testing::mongo().await;
    let mongo = database.ledger();
    store::schema()
        .prepare(&mongo)
        .await
        .expect("the collections can be created");
    let mail_queues = MailQueues::default();
    let bench = Bench::new(
        "notification",
        mongo.clone(),
        mongo.clone(),
        subscriptions(&mail_queues),
    );
    let mailer = Mailer::new(
        mongo,
        bench.publisher(),
        Templates::new(
            "https://rollcall.example",
            LinkKey::new("a key of thirty-two characters.."),
        ),
        AcceptingServer,
        mail_queues,
        Metrics::register(&prometheus::Registry::new()).expect("the registry is empty"),
        MailerSettings::default(),
    );
    let stop = CancellationToken::new();
    let running = tokio::spawn(mailer.run(stop.clone()));
    let ada = Uuid::now_v7();
    let profile = UserProfile {
        email: "ada@example.org".to_owned(),
        username: "ada_1815".to_owned(),
        full_name: "Ada Lovelace".to_owned(),
        date_of_birth: contracts::Date::parse("1990-12-10").expect("a date"),
        time_zone: "Europe/London".to_owned(),
        email_verified: false,
        reminders: true,
        announcements: true,
    };
    bench.deliver(Outgoing::<UserProfileState>::new(ada, profile)).await;

    let created_at = Timestamp::EPOCH;
    let mut record = bench.record(Outgoing::<UserEvent>::new(ada, UserCreated { created_at }));
    let (trace, create) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    record
        .headers
        .set(header::TRACE_PARENT, format!("00-{trace}-{create}-01"));
    bench.deliver_records(vec![record]).await;
    let fact = eventually("the fact is published", Duration::from_secs(20), || async {
        bench.published_with_envelopes::<NotificationFact>().await.pop()
    })
    .await;
    stop.cancel();
    running.await.expect("the mailer does not panic");

    let spans = spans.get_finished_spans().expect("spans are exported");
    let find = |name: &str| -> &SpanData {
        let mut named = spans.iter().filter(|span| span.name.starts_with(name));
        named.next().unwrap_or_else(|| panic!("no span {name}: {spans:?}"))
    };
    let process = find("process bench.users");
    assert_eq!(process.span_context.trace_id().to_string(), trace);
    assert_eq!(process.parent_span_id.to_string(), create);
    let mail = find("send mail");
    assert_eq!(mail.span_context.trace_id().to_string(), trace);
    assert_eq!(mail.parent_span_id, process.span_context.span_id());
    let create = find("create bench.notifications");
    assert_eq!(create.parent_span_id, mail.span_context.span_id());
    let trace_parent = fact.envelope.trace_parent.expect("the fact has a trace context");
    assert!(
        trace_parent.contains(&create.span_context.span_id().to_string()),
        "{trace_parent}"
    );
}
