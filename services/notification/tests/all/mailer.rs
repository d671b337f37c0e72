//! E-mails that are sent, and e-mails that cannot be sent.

use std::collections::HashSet;
use std::future::pending;
use std::time::Duration;

use contracts::{NotificationFact, NotificationKind};
use mongodb::bson::{self, DateTime, doc};
use notification::mailer::MailerSettings;
use notification::server::{MailServer, SendError};
use notification::templates::RenderedMail;
use testing::eventually;
use uuid::Uuid;

use crate::app::{App, DEADLINE, RecordingServer, quick};
use crate::messages::{confirmed, profile, signed_up};

#[tokio::test(flavor = "multi_thread")]
async fn a_temporarily_rejected_mail_is_retried_under_the_same_message_id() {
    let app = App::with_mailer().await;
    let ada = app.has_user("Ada").await;
    app.server
        .fail_with(["451", "452"].map(|code| SendError::Temporary(code.to_owned())));

    app.bench.deliver(signed_up(ada)).await;
    app.all_mails_are_processed().await;

    let tried = app.server.attempts();
    assert_eq!(tried.len(), 3);
    assert!(tried.iter().all(|mail| mail.message_id == tried[0].message_id));
    let facts = app.facts().await;
    assert!(
        matches!(facts[..], [NotificationFact::NotificationSent(_)]),
        "{facts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permanently_rejected_e_mail_fails_immediately() {
    let app = App::with_mailer().await;
    let ada = app.has_user("Ada").await;
    app.server.fail_with([SendError::Permanent(
        "the mail server responded with 550 5.1.1".to_owned(),
    )]);

    let cause = app.bench.deliver(signed_up(ada)).await;
    app.all_mails_are_processed().await;

    assert_eq!(app.server.attempts().len(), 1);
    let facts = app.facts().await;
    let [NotificationFact::NotificationFailed(failed)] = &facts[..] else {
        panic!("{facts:?}");
    };
    assert_eq!((failed.kind, failed.cause_id), (NotificationKind::Welcome, cause));
    assert_eq!(failed.reason, "the mail server responded with 550 5.1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_fails_after_it_was_tried_for_a_day() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    app.server
        .fail_with([SendError::Temporary("the mail server responded with 451".to_owned())]);
    app.bench.deliver(signed_up(ada)).await;
    let almost_a_day = DateTime::now().timestamp_millis() - 24 * 60 * 60 * 1000 + 2_000;
    app.change_mails(doc! { "tried_since": DateTime::from_millis(almost_a_day) })
        .await;

    let settings = MailerSettings {
        initial_retry_delay: Duration::from_secs(2),
        ..quick()
    };
    app.run_mailer(app.server.clone(), settings);
    app.all_mails_are_processed().await;

    assert_eq!(app.server.attempts().len(), 1);
    let facts = app.facts().await;
    let [NotificationFact::NotificationFailed(failed)] = &facts[..] else {
        panic!("{facts:?}");
    };
    assert_eq!(failed.reason, "not sent within the maximum retry time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_no_process_could_try_for_days_is_still_sent() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    app.bench.deliver(signed_up(ada)).await;
    let days_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 3 * 24 * 60 * 60 * 1000);
    app.change_mails(doc! { "created_at": days_ago, "next_attempt_at": days_ago })
        .await;
    app.server
        .fail_with([SendError::Temporary("the mail server responded with 451".to_owned())]);

    app.run_mailer(app.server.clone(), quick());
    app.all_mails_are_processed().await;

    assert_eq!(
        app.server.attempts().len(),
        2,
        "the maximum retry time starts with the first attempt"
    );
    assert_eq!(app.server.subjects(), ["Welcome to Rollcall"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_mail_probes_an_unreachable_server_before_all_others_are_sent() {
    let app = App::start().await;
    let ball = app.has_event("Ball").await;
    for number in 0..20 {
        let user = app.has_user(&format!("User{number}")).await;
        app.bench.deliver(confirmed(ball, user)).await;
    }
    app.server.set_down(true);
    let settings = MailerSettings {
        senders: 4,
        initial_retry_delay: Duration::from_millis(300),
        ..quick()
    };
    app.run_mailer(app.server.clone(), settings);
    eventually("the first probe is sent", DEADLINE, || async {
        (app.server.attempts().len() > 4).then_some(())
    })
    .await;

    // The four e-mails that were in flight when the server went down, and one probe.
    assert_eq!(app.server.attempts().len(), 5);
    app.server.set_down(false);
    app.all_mails_are_processed().await;

    assert_eq!(app.server.sent().len(), 20);
    let mails = app.mails().await;
    assert!(
        mails.iter().all(|mail| mail.get_i64("refusals").unwrap_or(0) == 0),
        "an unreachable server does not count as a rejection of an e-mail"
    );
    assert_eq!(app.facts().await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_send_each_mail_once() {
    let app = App::start().await;
    let servers = [RecordingServer::default(), RecordingServer::default()];
    for server in &servers {
        app.run_remote_mailer(server.clone(), quick());
    }
    let ball = app.has_event("Ball").await;
    for number in 0..60 {
        let user = app.has_user(&format!("User{number}")).await;
        app.bench.deliver(confirmed(ball, user)).await;
    }
    app.all_mails_are_processed().await;

    let sent: Vec<_> = servers.iter().flat_map(RecordingServer::sent).collect();
    let distinct: HashSet<_> = sent.iter().map(|mail| mail.message_id).collect();
    assert_eq!((sent.len(), distinct.len()), (60, 60));
    assert_eq!(app.facts().await.len(), 60);
}

/// A mail server that accepts the e-mail, but never responds.
struct AcceptsAndHangs(RecordingServer);

impl MailServer for AcceptsAndHangs {
    async fn send(&self, mail: &RenderedMail) -> Result<(), SendError> {
        self.0.send(mail).await?;
        pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_sent_again_after_a_crash_has_the_same_message_id() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    let settings = MailerSettings {
        send_timeout: Duration::from_millis(500),
        claim_duration: Duration::from_secs(1),
        release_grace: Duration::from_millis(100),
        ..quick()
    };
    let crashed = app.run_mailer(AcceptsAndHangs(app.server.clone()), settings.clone());
    app.bench.deliver(signed_up(ada)).await;
    eventually("the e-mail is sent", DEADLINE, || async { app.server.sent().pop() }).await;
    crashed.abort();

    app.run_remote_mailer(app.server.clone(), settings);
    app.all_mails_are_processed().await;

    let sent = app.server.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].message_id, sent[1].message_id);
    let facts = app.facts().await;
    assert!(
        matches!(facts[..], [NotificationFact::NotificationSent(_)]),
        "{facts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_can_be_recorded_shortly_after_the_claim_has_expired() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    app.bench.deliver(signed_up(ada)).await;
    // Another process has sent the e-mail, but could not reach the store until after its claim had expired.
    let a_minute_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 60_000);
    app.change_mails(doc! { "claim": bson::Uuid::new(), "claimed_at": a_minute_ago, "next_attempt_at": a_minute_ago })
        .await;
    app.run_mailer(app.server.clone(), quick());
    eventually("the claim is removed", DEADLINE, || async {
        (!app.mails().await[0].contains_key("claim")).then_some(())
    })
    .await;

    app.change_mails(doc! { "state": "sent" }).await;
    let bob = app.has_user("Bob").await;
    app.bench.deliver(signed_up(bob)).await;
    app.all_mails_are_processed().await;

    let to: Vec<_> = app.server.attempts().into_iter().map(|mail| mail.to_name).collect();
    assert_eq!(to, ["Bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_not_sent_when_its_claim_could_expire_meanwhile() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    app.bench.deliver(signed_up(ada)).await;
    let settings = MailerSettings {
        send_timeout: Duration::from_secs(10),
        claim_duration: Duration::from_secs(10),
        ..quick()
    };
    let mailer = app.run_mailer(app.server.clone(), settings);
    eventually("the e-mail is released", DEADLINE, || async {
        (app.mails().await[0].get_str("reason").ok() == Some("the claim could expire during sending")).then_some(())
    })
    .await;
    mailer.abort();
    assert!(app.server.attempts().is_empty());
}

/// A mail server that never responds to a welcome e-mail.
#[derive(Clone)]
struct SlowWithWelcomes(RecordingServer);

impl MailServer for SlowWithWelcomes {
    async fn send(&self, mail: &RenderedMail) -> Result<(), SendError> {
        if mail.subject.starts_with("Welcome") {
            pending().await
        } else {
            self.0.send(mail).await
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sign_ups_do_not_delay_a_confirmation() {
    let app = App::start().await;
    app.run_mailer(SlowWithWelcomes(app.server.clone()), quick());
    let ball = app.has_event("Ball").await;
    let mut users = Vec::new();
    for number in 0..20 {
        users.push(app.has_user(&format!("User{number}")).await);
    }
    app.bench.deliver_all(users.iter().map(|user| signed_up(*user))).await;
    app.bench.deliver(confirmed(ball, users[0])).await;

    let sent = eventually("the confirmation arrives", DEADLINE, || async {
        app.server.sent().pop()
    })
    .await;
    assert_eq!(sent.subject, "Your seat is confirmed: Ball");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_overtakes_two_thousand_welcomes() {
    let app = App::start().await;
    let ball = app.has_event("Ball").await;
    let users: Vec<_> = (0..2_000).map(|_| Uuid::now_v7()).collect();
    app.bench
        .deliver_all(users.iter().map(|user| profile(*user, "Ada")))
        .await;
    app.bench.deliver_all(users.iter().map(|user| signed_up(*user))).await;
    app.bench.deliver(confirmed(ball, users[1_999])).await;

    app.run_mailer(app.server.clone(), quick());
    let position = eventually("the confirmation arrives", DEADLINE, || async {
        let sent = app.server.sent();
        sent.iter()
            .position(|mail| mail.subject == "Your seat is confirmed: Ball")
    })
    .await;

    assert!(position < 100, "{position} e-mails were sent before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_mailer_records_the_outcomes_of_mails_in_flight() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    let mailer = app.run_mailer(app.server.clone(), quick());
    app.bench.deliver(signed_up(ada)).await;
    eventually("the e-mail is sent", DEADLINE, || async { app.server.sent().pop() }).await;

    app.stop_mailers();
    mailer.await.expect("the mailer does not panic");

    assert_eq!(
        app.facts().await.len(),
        1,
        "every outcome is recorded before the mailer ends"
    );
}
