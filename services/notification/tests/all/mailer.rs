//! How mails are sent, and what happens when they can't be.

use std::collections::HashSet;
use std::future::pending;
use std::time::Duration;

use contracts::{NotificationFact, NotificationKind};
use mongodb::bson::{self, DateTime, doc};
use notification::letter::Letter;
use notification::mailer::Working;
use notification::server::{MailServer, NotSent};
use testing::eventually;
use uuid::Uuid;

use crate::app::{App, DEADLINE, Recording, quick};
use crate::messages::{confirmed, profile, signed_up};

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_refusal_is_tried_again_under_the_same_message_id() {
    let app = App::with_mailer().await;
    let ada = app.has_user("Ada").await;
    app.server
        .answers(["451", "452"].map(|code| NotSent::Later(code.to_owned())));

    app.bench.deliver(signed_up(ada)).await;
    app.is_done().await;

    let tried = app.server.tried();
    assert_eq!(tried.len(), 3);
    assert!(tried.iter().all(|letter| letter.message_id == tried[0].message_id));
    let facts = app.facts().await;
    assert!(
        matches!(facts[..], [NotificationFact::NotificationSent(_)]),
        "{facts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_refused_for_good_is_given_up_at_once() {
    let app = App::with_mailer().await;
    let ada = app.has_user("Ada").await;
    app.server
        .answers([NotSent::Refused("the mail server answered 550 5.1.1".to_owned())]);

    let cause = app.bench.deliver(signed_up(ada)).await;
    app.is_done().await;

    assert_eq!(app.server.tried().len(), 1);
    let facts = app.facts().await;
    let [NotificationFact::NotificationFailed(failed)] = &facts[..] else {
        panic!("{facts:?}");
    };
    assert_eq!((failed.kind, failed.cause_id), (NotificationKind::Welcome, cause));
    assert_eq!(failed.reason, "the mail server answered 550 5.1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_given_up_after_a_day() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    app.server
        .answers([NotSent::Later("the mail server answered 451".to_owned())]);
    app.bench.deliver(signed_up(ada)).await;
    let almost_a_day = DateTime::now().timestamp_millis() - 24 * 60 * 60 * 1000 + 2_000;
    app.change_mails(doc! { "tried_since": DateTime::from_millis(almost_a_day) })
        .await;

    let working = Working {
        first_wait: Duration::from_secs(2),
        ..quick()
    };
    app.run_mailer(app.server.clone(), working);
    app.is_done().await;

    assert_eq!(app.server.tried().len(), 1);
    let facts = app.facts().await;
    let [NotificationFact::NotificationFailed(failed)] = &facts[..] else {
        panic!("{facts:?}");
    };
    assert_eq!(failed.reason, "given up: it could not be sent in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_could_try_for_days_is_still_sent() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    app.bench.deliver(signed_up(ada)).await;
    let days_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 3 * 24 * 60 * 60 * 1000);
    app.change_mails(doc! { "created_at": days_ago, "next_attempt_at": days_ago })
        .await;
    app.server
        .answers([NotSent::Later("the mail server answered 451".to_owned())]);

    app.run_mailer(app.server.clone(), quick());
    app.is_done().await;

    assert_eq!(app.server.tried().len(), 2, "its day begins with the first attempt");
    assert_eq!(app.server.subjects(), ["Welcome to Rollcall"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_away_one_probe_goes_and_then_every_mail() {
    let app = App::start().await;
    let ball = app.has_event("Ball").await;
    for number in 0..20 {
        let user = app.has_user(&format!("User{number}")).await;
        app.bench.deliver(confirmed(ball, user)).await;
    }
    app.server.is_down(true);
    let working = Working {
        senders: 4,
        first_wait: Duration::from_millis(300),
        ..quick()
    };
    app.run_mailer(app.server.clone(), working);
    eventually("the first probe", DEADLINE, || async {
        (app.server.tried().len() > 4).then_some(())
    })
    .await;

    // The four that were under way when it went down, and one probe.
    assert_eq!(app.server.tried().len(), 5);
    app.server.is_down(false);
    app.is_done().await;

    assert_eq!(app.server.taken().len(), 20);
    let mails = app.mails().await;
    assert!(
        mails.iter().all(|mail| mail.get_i64("refusals").unwrap_or(0) == 0),
        "it is no mail's fault"
    );
    assert_eq!(app.facts().await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_send_each_mail_once() {
    let app = App::start().await;
    let servers = [Recording::default(), Recording::default()];
    for server in &servers {
        app.run_remote_mailer(server.clone(), quick());
    }
    let ball = app.has_event("Ball").await;
    for number in 0..60 {
        let user = app.has_user(&format!("User{number}")).await;
        app.bench.deliver(confirmed(ball, user)).await;
    }
    app.is_done().await;

    let taken: Vec<_> = servers.iter().flat_map(Recording::taken).collect();
    let distinct: HashSet<_> = taken.iter().map(|letter| letter.message_id).collect();
    assert_eq!((taken.len(), distinct.len()), (60, 60));
    assert_eq!(app.facts().await.len(), 60);
}

/// Takes the letter, and never comes back to say so.
struct TakesAndHangs(Recording);

impl MailServer for TakesAndHangs {
    async fn send(&self, letter: &Letter) -> Result<(), NotSent> {
        self.0.send(letter).await?;
        pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_sending_repeats_at_worst_the_same_message_id() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    let working = Working {
        letter: Duration::from_millis(500),
        claim: Duration::from_secs(1),
        grace: Duration::from_millis(100),
        ..quick()
    };
    let crashed = app.run_mailer(TakesAndHangs(app.server.clone()), working.clone());
    app.bench.deliver(signed_up(ada)).await;
    eventually("the letter is taken", DEADLINE, || async { app.server.taken().pop() }).await;
    crashed.abort();

    app.run_remote_mailer(app.server.clone(), working);
    app.is_done().await;

    let taken = app.server.taken();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0].message_id, taken[1].message_id);
    let facts = app.facts().await;
    assert!(
        matches!(facts[..], [NotificationFact::NotificationSent(_)]),
        "{facts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_let_a_claim_run_out_may_still_say_that_the_mail_was_sent() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    app.bench.deliver(signed_up(ada)).await;
    // Another process has sent it, and lost the store for longer than its claim before it could write so.
    let a_minute_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 60_000);
    app.change_mails(doc! { "claim": bson::Uuid::new(), "claimed_at": a_minute_ago, "next_attempt_at": a_minute_ago })
        .await;
    app.run_mailer(app.server.clone(), quick());
    eventually("its claim is ended", DEADLINE, || async {
        (!app.mails().await[0].contains_key("claim")).then_some(())
    })
    .await;

    app.change_mails(doc! { "state": "sent" }).await;
    let bob = app.has_user("Bob").await;
    app.bench.deliver(signed_up(bob)).await;
    app.is_done().await;

    let to: Vec<_> = app.server.tried().into_iter().map(|letter| letter.to_name).collect();
    assert_eq!(to, ["Bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_not_handed_over_when_its_claim_could_run_out_meanwhile() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    app.bench.deliver(signed_up(ada)).await;
    let working = Working {
        letter: Duration::from_secs(10),
        claim: Duration::from_secs(10),
        ..quick()
    };
    let mailer = app.run_mailer(app.server.clone(), working);
    eventually("it goes back", DEADLINE, || async {
        (app.mails().await[0].get_str("reason").ok() == Some("the claim would run out")).then_some(())
    })
    .await;
    mailer.abort();
    assert!(app.server.tried().is_empty());
}

/// Never gets done with a welcome.
#[derive(Clone)]
struct SlowWithWelcomes(Recording);

impl MailServer for SlowWithWelcomes {
    async fn send(&self, letter: &Letter) -> Result<(), NotSent> {
        match letter.subject.starts_with("Welcome") {
            true => pending().await,
            false => self.0.send(letter).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_sign_ups_delays_no_confirmation() {
    let app = App::start().await;
    app.run_mailer(SlowWithWelcomes(app.server.clone()), quick());
    let ball = app.has_event("Ball").await;
    let mut users = Vec::new();
    for number in 0..20 {
        users.push(app.has_user(&format!("User{number}")).await);
    }
    app.bench.deliver_all(users.iter().map(|user| signed_up(*user))).await;
    app.bench.deliver(confirmed(ball, users[0])).await;

    let taken = eventually("the confirmation", DEADLINE, || async { app.server.taken().pop() }).await;
    assert_eq!(taken.subject, "Your seat is confirmed: Ball");
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
    let place = eventually("the confirmation", DEADLINE, || async {
        let taken = app.server.taken();
        taken
            .iter()
            .position(|letter| letter.subject == "Your seat is confirmed: Ball")
    })
    .await;

    assert!(place < 100, "{place} welcomes went first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailer_that_is_stopped_records_what_is_under_way() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    let mailer = app.run_mailer(app.server.clone(), quick());
    app.bench.deliver(signed_up(ada)).await;
    eventually("the letter is taken", DEADLINE, || async { app.server.taken().pop() }).await;

    app.stop_mailers();
    mailer.await.expect("it ends");

    assert_eq!(app.facts().await.len(), 1, "nothing is recorded after it has ended");
}
