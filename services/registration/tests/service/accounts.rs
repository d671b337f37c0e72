//! Closed accounts.

use super::*;

#[tokio::test]
async fn closing_an_account_cancels_every_registration() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.has_event(OTHER_EVENT, seats(1)).await;
    app.bench
        .deliver(Outgoing::<UserEvent>::new(
            ADA,
            UserCreated {
                created_at: Timestamp::now(),
            },
        ))
        .await;
    app.request_all([register(ADA), register(BOB), register_for(OTHER_EVENT, ADA)])
        .await;
    app.published().await;

    app.bench.deliver(Outgoing::<UserEvent>::new(ADA, deactivated())).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;

    let reason = CancelReason::UserDeactivated;
    let elsewhere = RegistrationCancelled {
        registration_id: of(OTHER_EVENT, ADA),
        user_id: ADA,
        reason,
        had_seat: true,
    };
    let mut published = app.published().await;
    let index = published
        .iter()
        .position(|event| *event == elsewhere.clone().into())
        .expect("both seats");
    published.remove(index);
    assert_eq!(published, [cancelled(ADA, reason, true), promoted(BOB)]);
    assert_eq!(
        app.request(register_for(OTHER_EVENT, ADA)).await,
        Err("user-deactivated".into())
    );
}

#[tokio::test]
async fn no_registration_survives_a_concurrent_closing_of_the_account() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1_000)).await;
    app.has_event(OTHER_EVENT, seats(1_000)).await;
    for user in users(40) {
        // Two workers handle the two topics concurrently. Half of the users have registered before.
        if user.as_u128() % 2 == 0 {
            app.request(register_for(OTHER_EVENT, user)).await.expect("accepted");
        }
        app.bench.append(register(user));
        app.bench.append(Outgoing::<UserEvent>::new(user, deactivated()));
        app.bench.catch_up().await;
        app.bench.settle().await;
    }
    let counts = app.status_counts().await;
    assert!(counts.keys().all(|status| status == "cancelled"), "{counts:?}");
}

#[tokio::test]
async fn a_checked_in_registration_is_kept_when_the_account_is_closed() {
    let app = App::start().await;
    let event = Details {
        staff: vec![STAFF],
        ..soon(1)
    };
    app.has_event(EVENT, event).await;
    app.request_all([register(ADA), register(BOB), check_in(ADA)]).await;
    app.published().await;

    app.bench.deliver(Outgoing::<UserEvent>::new(ADA, deactivated())).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;

    assert_eq!(app.published().await, []);
    assert_eq!(
        app.status_counts().await,
        [("checked-in".to_owned(), 1), ("waiting".to_owned(), 1)].into()
    );
}

#[tokio::test]
async fn other_changes_of_an_account_change_no_registration() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.request(register(ADA)).await.expect("accepted");
    app.published().await;
    let at = Timestamp::now();
    let fields = vec!["email".to_owned()];
    for event in [
        UserEvent::from(UserCreated { created_at: at }),
        UserChanged { fields, changed_at: at }.into(),
        EmailVerified { verified_at: at }.into(),
        UserErased { erased_at: at }.into(),
    ] {
        app.bench.deliver(Outgoing::<UserEvent>::new(ADA, event)).await;
        app.bench.deliver_again().await;
    }
    app.bench.settle().await;
    assert_eq!(app.published().await, []);
    assert_eq!(app.status_counts().await, [("seat".to_owned(), 1)].into());
}
