//! Registering and cancelling.

use super::*;

#[tokio::test]
async fn a_cancelled_seat_goes_to_the_first_on_the_waiting_list() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    for (user, version) in [(ADA, 2), (BOB, 3), (EVE, 4)] {
        assert_eq!(app.request(register(user)).await, Ok(version));
    }
    assert_eq!(
        app.published().await,
        [confirmed(ADA), waitlisted(BOB), waitlisted(EVE)]
    );

    assert_eq!(app.request(cancel(ADA)).await, Ok(6));
    app.bench.deliver_again().await;

    assert_eq!(
        app.published().await,
        [cancelled(ADA, CancelReason::ByAttendee, true), promoted(BOB)]
    );
    let row = |user, status: &str, position| (of(EVENT, user), user, status.to_owned(), position);
    assert_eq!(
        app.rows().await,
        [row(ADA, "cancelled", 2), row(BOB, "seat", 3), row(EVE, "waiting", 4)]
    );
}

#[tokio::test]
async fn registrations_and_cancellations_succeed_in_one_batch() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    let again = Uuid::from_u128(77);
    let second = Outgoing::new(
        EVENT,
        Register {
            registration_id: again,
            user_id: ADA,
        },
    )
    .actor(Actor::User(ADA));
    let batch = [
        register(ADA),
        register(BOB),
        register(ADA),
        cancel(ADA),
        second,
        cancel(ADA),
        cancel(BOB),
    ];
    let outcomes = app.request_all(batch).await;
    assert_eq!(
        outcomes,
        [
            Ok(2),
            Ok(3),
            Err("already-registered".into()),
            Ok(5),
            Ok(6),
            Ok(6),
            Ok(8)
        ]
    );
    let row = |id, user, status: &str, position| (id, user, status.to_owned(), position);
    let expected = [
        row(again, ADA, "seat", 6),
        row(of(EVENT, ADA), ADA, "cancelled", 2),
        row(of(EVENT, BOB), BOB, "cancelled", 3),
    ];
    assert_eq!(app.rows().await, expected);
}

#[tokio::test]
async fn a_user_can_register_again_in_the_batch_that_cancels() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.request(register(ADA)).await.expect("accepted");
    let second = Register {
        registration_id: Uuid::from_u128(77),
        user_id: ADA,
    };
    let second = Outgoing::new(EVENT, second).actor(Actor::User(ADA));
    assert_eq!(app.request_all([cancel(ADA), second]).await, [Ok(3), Ok(4)]);
}

#[tokio::test]
async fn a_registration_id_belongs_to_one_event() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.has_event(OTHER_EVENT, seats(1)).await;
    app.request(register(ADA)).await.expect("accepted");
    let same_id = Register {
        registration_id: of(EVENT, ADA),
        user_id: BOB,
    };
    let same_id = Outgoing::new(OTHER_EVENT, same_id).actor(Actor::User(BOB));
    assert_eq!(app.request(same_id).await, Err("already-exists".into()));
}

#[tokio::test]
async fn a_registration_that_arrives_before_its_event_is_deferred() {
    let app = App::start().await;
    let id = app.bench.deliver(register(ADA)).await;
    app.bench.deliver_again().await;
    assert_eq!(app.bench.replies(id).await, []);

    app.has_event(EVENT, seats(1)).await;
    app.bench.deliver_delayed().await;
    assert_eq!(outcome(app.bench.reply(id).await), Ok(2));
    assert_eq!(app.published().await, [confirmed(ADA)]);
}

#[tokio::test]
async fn a_deferred_command_is_rejected_after_its_last_attempt() {
    let app = App::start().await;
    app.has_event(OTHER_EVENT, seats(1)).await;
    let elsewhere = CancelRegistration {
        registration_id: of(OTHER_EVENT, ADA),
        reason: CancelReason::ByAttendee,
    };
    let elsewhere = Outgoing::new(OTHER_EVENT, elsewhere).actor(Actor::User(ADA));
    for (command, code) in [
        (register(ADA), "event-unknown"),
        (cancel(ADA), "registration-unknown"),
        (check_in(ADA), "registration-unknown"),
        (elsewhere, "registration-unknown"),
    ] {
        let id = app.bench.deliver(command).await;
        let mut rounds = 0;
        while app.bench.replies(id).await.is_empty() {
            app.bench.deliver_delayed().await;
            rounds += 1;
            assert!(rounds < 20, "the command is rejected eventually");
        }
        assert_eq!(outcome(app.bench.reply(id).await), Err(code.to_owned()));
    }
}

#[tokio::test]
async fn a_new_process_continues_from_the_stored_state() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.request_all([register(ADA), register(BOB)]).await;
    app.bench.restart();
    assert_eq!(app.request(register(ADA)).await, Err("already-registered".into()));
    assert_eq!(app.request(register(EVE)).await, Ok(4));
    assert_eq!(app.request(cancel(ADA)).await, Ok(6));
}
