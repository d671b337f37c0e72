//! The erasure of a user's personal data.

use std::time::Duration;

use contracts::{NotificationCommand, UserErased, UserEvent, UserProfileState};
use messaging::Outgoing;
use notification::mailer::MailerSettings;
use notification::server::SendError;
use testing::eventually;
use uuid::Uuid;

use crate::app::{App, DEADLINE, quick};
use crate::messages::{confirmed, in_days, now, profile, signed_up, starting, verification};

const CANARY: &str = "Canary7f3a";

/// Creates a user whose personal data is stored in every place that can contain it.
async fn has_canary(app: &App) -> Uuid {
    let canary = app.has_user(CANARY).await;
    let ball = Uuid::now_v7();
    app.bench.deliver(starting(ball, "Ball", in_days(30))).await;
    app.bench.deliver(confirmed(ball, canary)).await;
    // An e-mail that waits for an event, a link, and an unreadable record.
    app.bench.deliver(confirmed(Uuid::now_v7(), canary)).await;
    app.bench.deliver(verification(canary, in_days(1))).await;
    let mut unreadable = app.bench.record(profile(canary, CANARY));
    unreadable.value = unreadable.value.map(|value| [&[7], &value[1..]].concat().into());
    app.bench.deliver_records(vec![unreadable]).await;
    assert_eq!(app.bench.dead_letters().await.len(), 1);
    assert_eq!(app.bench.delayed::<NotificationCommand>().await.len(), 1);
    assert!(app.stored_text().await.to_lowercase().contains("canary7f3a"));
    canary
}

async fn assert_erased(app: &App) {
    let stored = app.stored_text().await.to_lowercase();
    assert!(!stored.contains("canary"), "{stored}");
    assert!(app.bench.delayed::<NotificationCommand>().await.is_empty());

    app.run_mailer(app.server.clone(), quick());
    app.all_mails_are_processed().await;
    assert!(app.server.attempts().is_empty());
    app.assert_failed(3, "erased").await;
    assert!(!app.stored_text().await.to_lowercase().contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tombstone_of_a_profile_erases_the_user() {
    let app = App::start().await;
    let canary = has_canary(&app).await;
    let bob = app.has_user("Bob").await;

    let tombstone = Outgoing::<UserProfileState>::new(canary, UserProfileState::Tombstone);
    app.bench.deliver(tombstone).await;
    app.bench.deliver_again().await;

    assert_erased(&app).await;
    app.bench.deliver(signed_up(bob)).await;
    app.all_mails_are_processed().await;
    assert_eq!(
        app.server.subjects(),
        ["Welcome to Rollcall"],
        "other users are not erased"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_arrives_after_the_erasure_is_not_stored() {
    let app = App::start().await;
    let canary = has_canary(&app).await;

    // As after a long downtime: the tombstone was removed from its topic, but an older profile was not.
    let erased = Outgoing::<UserEvent>::new(canary, UserErased { erased_at: now() });
    app.bench.deliver(erased).await;
    app.bench.deliver_again().await;
    app.bench.deliver(profile(canary, CANARY)).await;
    app.bench.deliver_again().await;

    assert_erased(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_waits_for_its_next_attempt_fails_when_the_user_is_erased() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    app.server
        .fail_with([SendError::Temporary("the mail server responded with 451".to_owned())]);
    let settings = MailerSettings {
        initial_retry_delay: Duration::from_secs(60 * 60),
        ..quick()
    };
    app.run_mailer(app.server.clone(), settings);
    app.bench.deliver(signed_up(ada)).await;
    eventually("the e-mail waits", DEADLINE, || async {
        (app.mails().await[0].get_i64("refusals").ok() == Some(1)).then_some(())
    })
    .await;

    let tombstone = Outgoing::<UserProfileState>::new(ada, UserProfileState::Tombstone);
    app.bench.deliver(tombstone).await;
    app.bench.deliver_again().await;
    app.all_mails_are_processed().await;

    app.assert_failed(1, "erased").await;
}
