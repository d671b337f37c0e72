//! Checking in attendees.

use super::*;

#[tokio::test]
async fn a_confirmed_registration_is_checked_in_once() {
    let app = App::start().await;
    let event = Details {
        staff: vec![STAFF],
        ..soon(1)
    };
    app.has_event(EVENT, event).await;
    app.request_all([register(ADA), register(BOB)]).await;
    app.published().await;

    assert_eq!(app.request(check_in(ADA)).await, Ok(4));
    app.bench.deliver_again().await;
    let published = app.published().await;
    assert!(
        matches!(&published[..], [RegistrationEvent::AttendeeCheckedIn(AttendeeCheckedIn { user_id, .. })] if *user_id == ADA),
        "{published:?}"
    );
    app.bench.restart();
    assert_eq!(app.request(check_in(ADA)).await, Err("already-checked-in".into()));
    assert_eq!(app.request(check_in(BOB)).await, Err("no-seat".into()));
    assert_eq!(app.request(cancel(ADA)).await, Err("checked-in".into()));
    assert_eq!(app.request(register(ADA)).await, Err("already-registered".into()));
    let row = |user, status: &str, position| (of(EVENT, user), user, status.to_owned(), position);
    assert_eq!(app.rows().await, [row(ADA, "checked-in", 2), row(BOB, "waiting", 3)]);
}

#[tokio::test]
async fn registration_and_check_in_succeed_in_one_batch() {
    let app = App::start().await;
    let event = Details {
        staff: vec![STAFF],
        ..soon(1)
    };
    app.has_event(EVENT, event).await;
    let by_organizer = cancel(ADA).actor(Actor::User(ORGANIZER));
    let batch = [
        register(ADA),
        register(BOB),
        check_in(ADA),
        check_in(ADA),
        cancel(ADA),
        by_organizer,
        check_in(BOB),
    ];
    assert_eq!(
        app.request_all(batch).await,
        [
            Ok(2),
            Ok(3),
            Ok(4),
            Err("already-checked-in".into()),
            Err("checked-in".into()),
            Ok(6),
            Ok(7)
        ]
    );
    let row = |user, status: &str, position| (of(EVENT, user), user, status.to_owned(), position);
    assert_eq!(app.rows().await, [row(ADA, "cancelled", 2), row(BOB, "checked-in", 3)]);
}

#[tokio::test]
async fn a_check_in_by_newly_named_staff_is_deferred_and_then_accepted() {
    let app = App::start().await;
    app.has_event(EVENT, soon(1)).await;
    app.request(register(ADA)).await.expect("accepted");
    let id = app.bench.deliver(check_in(ADA)).await;
    app.bench.deliver_again().await;
    assert_eq!(app.bench.replies(id).await, []);

    let details = Details {
        staff: vec![STAFF],
        ..soon(1)
    };
    app.follows(StaffNamed {
        details,
        published: true,
    })
    .await;
    app.bench.deliver_delayed().await;
    assert_eq!(outcome(app.bench.reply(id).await), Ok(4));
}
