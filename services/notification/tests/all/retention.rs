//! How long mails and mailings are kept.

use std::time::Duration;

use contracts::Timestamp;
use notification::cleaner::Deleted;
use uuid::Uuid;

use crate::app::App;
use crate::messages::{announced, confirmed, profile};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

async fn clean(app: &App, now: Timestamp) -> Deleted {
    let cleaned = app.cleaner(RETENTION).clean(now).await;
    cleaned.expect("the store responds")
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_mails_and_their_mailings_are_deleted_after_the_retention() {
    let app = App::with_mailer().await;
    let (ada, bob) = (app.has_user("Ada").await, Uuid::now_v7());
    let ball = app.has_event("Ball").await;
    app.bench
        .deliver_all([confirmed(ball, ada), confirmed(ball, bob)])
        .await;
    app.bench.deliver(announced(ball, "Bring a loom", "Really.")).await;
    app.bench.settle().await;
    // The mails to Bob wait for his profile.
    app.mails_are_pending(2).await;

    let now = Timestamp::now();
    assert_eq!(clean(&app, now + RETENTION - DAY).await, Deleted::default());
    assert_eq!(app.mails().await.len(), 4);
    let to_ada = Deleted { mails: 2, mailings: 0 };
    assert_eq!(clean(&app, now + RETENTION + DAY).await, to_ada);
    assert_eq!(clean(&app, now + RETENTION + DAY).await, Deleted::default());

    app.bench.deliver(profile(bob, "Bob")).await;
    app.all_mails_are_processed().await;
    let subjects = app.server.subjects();
    let sent = subjects
        .iter()
        .filter(|subject| *subject == "Ball: Bring a loom")
        .count();
    assert_eq!(sent, 2, "the mailing was kept for the pending mail");
    let to_bob = Deleted { mails: 2, mailings: 1 };
    assert_eq!(clean(&app, now + RETENTION + DAY).await, to_bob);
    assert!(app.mails().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_mails_are_deleted_in_chunks_by_several_processes() {
    const COUNT: u64 = 2_500;
    let app = App::start().await;
    app.has_finished_mails(COUNT).await;
    let later = Timestamp::now() + RETENTION + DAY;
    let (one, other) = (app.cleaner(RETENTION), app.cleaner(RETENTION));
    let (one, other) = tokio::join!(one.clean(later), other.clean(later));
    let deleted = [one, other].map(|cleaned| cleaned.expect("the store responds").mails);
    assert_eq!(deleted.iter().sum::<u64>(), COUNT, "{deleted:?}");
    assert!(app.mails().await.is_empty());
}
