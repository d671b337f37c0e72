//! The e-mails that messages cause.

use contracts::ops::{OpsCommand, WhereIs};
use contracts::replies::Reply;
use contracts::{
    CancelReason, EventCancelled, EventEvent, NotificationFact, NotificationKind, NotificationSent, RegistrationEvent,
    SeatPromoted, SeatWaitlisted,
};
use messaging::Outgoing;
use notification::mail_id;
use serde_json::{Value, json};
use testing::eventually;
use uuid::Uuid;

use crate::app::{App, DEADLINE};
use crate::messages::{cancelled, confirmed, created, deactivated, now, profile, signed_up};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_member_is_welcomed_once() {
    let app = App::with_mailer().await;
    let ada = app.has_user("Ada").await;

    let sign_up = signed_up(ada).time(now());
    let cause = app.bench.deliver(sign_up).await;
    app.bench.deliver_again().await;
    app.all_mails_are_processed().await;

    let mails = app.server.sent();
    assert_eq!(mails.len(), 1, "one e-mail for one cause");
    assert_eq!(mails[0].to_address, "ada@example.org");
    assert_eq!(mails[0].subject, "Welcome to Rollcall");
    assert_eq!(mails[0].message_id, mail_id(cause, ada));
    let facts = app.bench.published_with_envelopes::<NotificationFact>().await;
    assert_eq!(facts.len(), 1, "one fact for one e-mail");
    let envelope = &facts[0].envelope;
    assert_eq!((envelope.key, envelope.causation_id), (ada, Some(cause)));
    let NotificationFact::NotificationSent(sent) = &facts[0].body else {
        panic!("{facts:?}");
    };
    let expected = NotificationSent {
        notification_id: mail_id(cause, ada),
        kind: NotificationKind::Welcome,
        cause_id: cause,
        sent_at: sent.sent_at,
        event_id: None,
    };
    assert_eq!(*sent, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_registration_causes_one_mail() {
    let app = App::with_mailer().await;
    let (ada, ball) = (app.has_user("Ada").await, app.has_event("Ball").await);
    let registration_id = Uuid::now_v7();
    let waitlisted = SeatWaitlisted {
        registration_id,
        user_id: ada,
    };
    let promoted = SeatPromoted {
        registration_id,
        user_id: ada,
    };
    let again = confirmed(ball, ada);

    app.bench
        .deliver_all([
            Outgoing::<RegistrationEvent>::new(ball, waitlisted),
            Outgoing::new(ball, promoted),
            cancelled(registration_id, ball, ada, CancelReason::ByOrganizer),
            again,
        ])
        .await;
    app.bench.deliver_again().await;
    app.all_mails_are_processed().await;

    let expected = [
        "You are on the waiting list: Ball",
        "You now have a seat: Ball",
        "Your registration was cancelled: Ball",
        "Your seat is confirmed: Ball",
    ];
    assert_eq!(app.server.subjects(), expected);
    assert!(
        app.server.sent()[0]
            .text
            .contains("Friday, 3 July 2026, 18:00 (Europe/Berlin)")
    );
    assert_eq!(app.facts().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_event_causes_one_mail_to_each_registered_user() {
    let app = App::with_mailer().await;
    let (ada, bob) = (app.has_user("Ada").await, app.has_user("Bob").await);
    let ball = app.has_event("Ball").await;
    let reason = "The hall burned down".to_owned();
    let cancelled_at = now();
    let event_cancelled = Outgoing::<EventEvent>::new(ball, EventCancelled { reason, cancelled_at });

    app.bench.deliver(event_cancelled).await;
    let ends = [ada, bob].map(|user| cancelled(Uuid::now_v7(), ball, user, CancelReason::EventCancelled));
    app.bench.deliver_all(ends).await;
    app.bench.deliver_again().await;
    app.all_mails_are_processed().await;

    assert_eq!(
        app.server.subjects(),
        ["Event cancelled: Ball", "Event cancelled: Ball"]
    );
    let sent = app.server.sent();
    assert!(
        sent.iter()
            .all(|mail| mail.text.contains("Message from the organizer: The hall burned down"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_waits_for_the_address_and_is_sent_when_it_arrives() {
    let app = App::with_mailer().await;
    let ada = Uuid::now_v7();

    app.bench.deliver(signed_up(ada)).await;
    eventually("the e-mail waits", DEADLINE, || async {
        let mails = app.mails().await;
        (mails[0].get_str("missing").ok() == Some("profile")).then_some(())
    })
    .await;
    assert!(app.server.attempts().is_empty());
    // Without the profile, the next check would be in a minute.
    app.bench.deliver(profile(ada, "Ada")).await;
    app.bench.deliver_again().await;
    app.all_mails_are_processed().await;

    assert_eq!(app.server.subjects(), ["Welcome to Rollcall"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_waits_for_the_event_that_it_is_about() {
    let app = App::with_mailer().await;
    let (ada, ball) = (app.has_user("Ada").await, Uuid::now_v7());

    app.bench.deliver(confirmed(ball, ada)).await;
    eventually("the e-mail waits", DEADLINE, || async {
        let mails = app.mails().await;
        (mails[0].get_str("missing").ok() == Some("event")).then_some(())
    })
    .await;
    app.bench.deliver(created(ball, "Ball")).await;
    app.bench.deliver_again().await;
    app.all_mails_are_processed().await;

    assert_eq!(app.server.subjects(), ["Your seat is confirmed: Ball"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_goes_to_the_newest_address() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    app.bench.deliver(signed_up(ada)).await;
    app.bench.deliver(profile(ada, "Augusta")).await;
    app.bench.deliver_again().await;

    app.run_mailer(app.server.clone(), crate::app::quick());
    app.all_mails_are_processed().await;

    assert_eq!(app.server.sent()[0].to_address, "augusta@example.org");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_account_gets_no_more_mails() {
    let app = App::start().await;
    let (ada, ball) = (app.has_user("Ada").await, app.has_event("Ball").await);
    app.bench.deliver(confirmed(ball, ada)).await;
    app.bench.deliver(signed_up(ada)).await;
    app.bench.deliver(deactivated(ada)).await;
    app.bench.deliver_again().await;

    app.run_mailer(app.server.clone(), crate::app::quick());
    app.all_mails_are_processed().await;

    assert!(app.server.attempts().is_empty());
    app.assert_failed(2, "the account is closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_mails_contain_no_personal_data() {
    let app = App::start().await;
    let (ada, ball) = (app.has_user("Ada").await, app.has_event("Ball").await);
    app.bench.deliver(signed_up(ada)).await;
    app.bench.deliver(confirmed(ball, ada)).await;

    let mails = format!("{:?}", app.mails().await).to_lowercase();
    assert!(mails.contains("seat_confirmed"), "{mails}");
    assert!(!mails.contains("ada") && !mails.contains("example.org"), "{mails}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_finds_the_mails_that_a_message_caused() {
    let app = App::with_mailer().await;
    let ada = app.has_user("Ada").await;
    let cause = app.bench.deliver(signed_up(ada)).await;
    app.all_mails_are_processed().await;

    let query = WhereIs {
        service: "notification".to_owned(),
        message_id: cause,
    };
    let reply = app
        .bench
        .request(Outgoing::<OpsCommand>::new(Uuid::now_v7(), query))
        .await;
    let Reply::CommandAccepted(accepted) = reply else {
        panic!("{reply:?}");
    };
    let result: Value = serde_json::from_str(&accepted.result.expect("a result")).expect("a JSON result");
    let mail = json!({
        "notification_id": mail_id(cause, ada),
        "kind": "welcome",
        "user": ada,
        "state": "sent",
        "reason": null,
    });
    assert_eq!(result["mails"], json!([mail]));
}
