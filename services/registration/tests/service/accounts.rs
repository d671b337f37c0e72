//! Whose account is closed.

use super::*;

#[tokio::test]
async fn who_closes_their_account_gives_up_every_seat() {
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
    app.ask_all([register(ADA), register(BOB), register_for(OTHER_EVENT, ADA)])
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
    let place = published
        .iter()
        .position(|event| *event == elsewhere.clone().into())
        .expect("both seats");
    published.remove(place);
    assert_eq!(published, [cancelled(ADA, reason, true), promoted(BOB)]);
    assert_eq!(
        app.ask(register_for(OTHER_EVENT, ADA)).await,
        Err("user-deactivated".into())
    );
}

#[tokio::test]
async fn no_seat_slips_between_registering_and_closing_the_account() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1_000)).await;
    app.has_event(OTHER_EVENT, seats(1_000)).await;
    for user in people(40) {
        // Two topics, two workers, at the same time. Half of them have registered before.
        if user.as_u128() % 2 == 0 {
            app.ask(register_for(OTHER_EVENT, user)).await.expect("accepted");
        }
        app.bench.append(register(user));
        app.bench.append(Outgoing::<UserEvent>::new(user, deactivated()));
        app.bench.catch_up().await;
        app.bench.settle().await;
    }
    let places = app.places().await;
    assert!(places.keys().all(|place| place == "cancelled"), "{places:?}");
}

#[tokio::test]
async fn whoever_was_here_stays_on_record_without_an_account() {
    let app = App::start().await;
    let event = Details {
        staff: vec![STAFF],
        ..soon(1)
    };
    app.has_event(EVENT, event).await;
    app.ask_all([register(ADA), register(BOB), check_in(ADA)]).await;
    app.published().await;

    app.bench.deliver(Outgoing::<UserEvent>::new(ADA, deactivated())).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;

    assert_eq!(app.published().await, []);
    assert_eq!(
        app.places().await,
        [("checked-in".to_owned(), 1), ("waiting".to_owned(), 1)].into()
    );
}

#[tokio::test]
async fn what_else_becomes_of_an_account_changes_no_registration() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.ask(register(ADA)).await.expect("accepted");
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
    assert_eq!(app.places().await, [("seat".to_owned(), 1)].into());
}
