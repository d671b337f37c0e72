//! What is left of an erased person: nothing.

use std::time::Duration;

use contracts::{NotificationCommand, NotificationFact, UserErased, UserEvent, UserProfileState};
use messaging::Outgoing;
use notification::mailer::Working;
use notification::server::NotSent;
use testing::eventually;
use uuid::Uuid;

use crate::app::{App, DEADLINE, quick};
use crate::messages::{confirmed, in_days, now, profile, signed_up, starting, verification};

const CANARY: &str = "Canary7f3a";

/// Of whom everything is known that can be, in every place.
async fn has_canary(app: &App) -> Uuid {
    let canary = app.has_user(CANARY).await;
    let ball = Uuid::now_v7();
    app.bench.deliver(starting(ball, "Ball", in_days(30))).await;
    app.bench.deliver(confirmed(ball, canary)).await;
    // A mail that waits for an event, a link, and a record that nobody can read.
    app.bench.deliver(confirmed(Uuid::now_v7(), canary)).await;
    app.bench.deliver(verification(canary, in_days(1))).await;
    let mut unreadable = app.bench.record(profile(canary, CANARY));
    unreadable.value = unreadable.value.map(|value| [&[7], &value[1..]].concat().into());
    app.bench.deliver_records(vec![unreadable]).await;
    assert_eq!(app.bench.dead_letters().await.len(), 1);
    assert_eq!(app.bench.delayed::<NotificationCommand>().await.len(), 1);
    assert!(app.everything_kept().await.to_lowercase().contains("canary7f3a"));
    canary
}

async fn nothing_is_left(app: &App) {
    let kept = app.everything_kept().await.to_lowercase();
    assert!(!kept.contains("canary"), "{kept}");
    assert!(app.bench.delayed::<NotificationCommand>().await.is_empty());

    app.run_mailer(app.server.clone(), quick());
    app.is_done().await;
    assert!(app.server.tried().is_empty());
    let facts = app.facts().await;
    assert_eq!(facts.len(), 3);
    for fact in facts {
        let NotificationFact::NotificationFailed(failed) = fact else {
            panic!("{fact:?}");
        };
        assert_eq!(failed.reason, "erased");
    }
    assert!(!app.everything_kept().await.to_lowercase().contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_profiles_tombstone_erases_the_person() {
    let app = App::start().await;
    let canary = has_canary(&app).await;
    let bob = app.has_user("Bob").await;

    let tombstone = Outgoing::<UserProfileState>::new(canary, UserProfileState::Tombstone);
    app.bench.deliver(tombstone).await;
    app.bench.deliver_again().await;

    nothing_is_left(&app).await;
    app.bench.deliver(signed_up(bob)).await;
    app.is_done().await;
    assert_eq!(app.server.subjects(), ["Welcome to Rollcall"], "others are still known");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_erased_is_not_remembered_by_a_late_profile() {
    let app = App::start().await;
    let canary = has_canary(&app).await;

    // As after a long absence: the tombstone is gone from its topic, an older profile is not.
    let erased = Outgoing::<UserEvent>::new(canary, UserErased { erased_at: now() });
    app.bench.deliver(erased).await;
    app.bench.deliver_again().await;
    app.bench.deliver(profile(canary, CANARY)).await;
    app.bench.deliver_again().await;

    nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_waits_for_its_next_attempt_ends_with_the_person() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    app.server
        .answers([NotSent::Later("the mail server answered 451".to_owned())]);
    let working = Working {
        first_wait: Duration::from_secs(60 * 60),
        ..quick()
    };
    app.run_mailer(app.server.clone(), working);
    app.bench.deliver(signed_up(ada)).await;
    eventually("it waits", DEADLINE, || async {
        (app.mails().await[0].get_i64("refusals").ok() == Some(1)).then_some(())
    })
    .await;

    let tombstone = Outgoing::<UserProfileState>::new(ada, UserProfileState::Tombstone);
    app.bench.deliver(tombstone).await;
    app.bench.deliver_again().await;
    app.is_done().await;

    let facts = app.facts().await;
    assert!(
        matches!(&facts[..], [NotificationFact::NotificationFailed(failed)] if failed.reason == "erased"),
        "{facts:?}"
    );
}
