//! Following the event.

use super::*;

#[tokio::test]
async fn a_published_event_opens_its_roster() {
    let app = App::start().await;
    app.bench.deliver(published(seats(1))).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    let published = app.published().await;
    assert!(
        matches!(&published[..], [RegistrationEvent::RosterOpened(opened)] if opened.terms.capacity == 1),
        "{published:?}"
    );
}

#[tokio::test]
async fn late_reaction_is_superseded() {
    let app = App::start().await;
    app.request(follow(3, 5)).await.expect("accepted");
    assert_eq!(app.request(follow(2, 9)).await, Ok(1));
    let published = app.published().await;
    assert!(
        matches!(&published[..], [RegistrationEvent::RosterOpened(opened)] if opened.terms.capacity == 5),
        "{published:?}"
    );
}

#[tokio::test]
async fn additional_seats_go_to_the_waiting_list() {
    let app = App::start().await;
    app.request(follow(2, 1)).await.expect("accepted");
    app.request_all([register(ADA), register(BOB), register(EVE)]).await;
    app.published().await;
    // The waiting registrations are in the store, and one of them is cancelled in the same batch.
    app.request_all([cancel(BOB), follow(3, 2)]).await;
    let published = app.published().await;
    assert_eq!(published[0], cancelled(BOB, CancelReason::ByAttendee, false));
    assert_eq!(published[2..], [promoted(EVE)]);
}

#[tokio::test]
async fn a_large_increase_in_capacity_promotes_in_batches() {
    const USER_COUNT: u128 = 2_300;
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.bench.deliver_all(users(USER_COUNT).map(register)).await;
    app.published().await;

    app.follows(EventChanged {
        details: seats(2_200),
        published: true,
    })
    .await;

    assert_eq!(
        app.status_counts().await,
        [("seat".to_owned(), 2_200), ("waiting".to_owned(), 100)].into()
    );
    let published = app.published().await;
    let user_ids = published.iter().filter_map(|event| match event {
        RegistrationEvent::SeatPromoted(promoted) => Some(promoted.user_id),
        _ => None,
    });
    assert!(user_ids.eq(users(2_200).skip(1)), "in order, each user once");
}

#[tokio::test]
async fn every_change_of_a_published_event_is_followed() {
    let app = App::start().await;
    let starts_at = Timestamp::now() + 24 * HOUR;
    let of_draft = |capacity| Details {
        capacity,
        ..seats(capacity)
    };
    let moved = Details {
        starts_at: starts_at + HOUR,
        staff: vec![STAFF],
        ..seats(3)
    };
    let published = true;
    app.follows(created()).await;
    app.follows(EventChanged {
        details: of_draft(1),
        published: false,
    })
    .await;
    app.follows(StaffNamed {
        details: of_draft(1),
        published: false,
    })
    .await;
    assert_eq!(app.published().await, [], "a draft");

    let mut followed = Vec::new();
    let announced = AnnouncementMade {
        announcement_id: Uuid::from_u128(8),
        organizer_id: ORGANIZER,
        subject: "Bring paper".into(),
        body: "And *pencils*.".into(),
    };
    let changed = EventChanged {
        details: of_draft(3),
        published,
    };
    let rescheduled = EventRescheduled {
        details: moved.clone(),
        previous_starts_at: starts_at,
        previous_ends_at: starts_at + 3 * HOUR,
    };
    let named = StaffNamed {
        details: moved,
        published,
    };
    for event in [
        EventEvent::from(EventPublished { details: seats(2) }),
        changed.into(),
        announced.into(),
        rescheduled.into(),
        named.into(),
    ] {
        app.follows(event).await;
        followed.extend(app.published().await);
    }
    // Sequence, capacity and staff.
    let followed: Vec<_> = followed
        .into_iter()
        .map(|event| match event {
            RegistrationEvent::RosterOpened(it) => (it.event_sequence, it.terms.capacity, it.terms.staff),
            RegistrationEvent::RosterChanged(it) => (it.event_sequence, it.terms.capacity, it.terms.staff),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        followed,
        [(4, 2, vec![]), (5, 3, vec![]), (7, 3, vec![STAFF]), (8, 3, vec![STAFF])]
    );
}

#[tokio::test]
async fn a_rescheduled_event_accepts_registrations_again() {
    let app = App::start().await;
    let closed = Details {
        registration_closes_at: Timestamp::now() - HOUR,
        ..seats(1)
    };
    app.has_event(EVENT, closed.clone()).await;
    assert_eq!(app.request(register(ADA)).await, Err("registration-closed".into()));

    let details = Details {
        starts_at: closed.starts_at + 24 * HOUR,
        ends_at: closed.ends_at + 24 * HOUR,
        registration_closes_at: closed.registration_closes_at + 24 * HOUR,
        ..closed.clone()
    };
    app.follows(EventRescheduled {
        details,
        previous_starts_at: closed.starts_at,
        previous_ends_at: closed.ends_at,
    })
    .await;
    assert_eq!(app.request(register(ADA)).await, Ok(3));
}

#[tokio::test]
async fn registration_opens_at_its_time() {
    let app = App::start().await;
    let later = Details {
        registration_opens_at: Some(Timestamp::now() + HOUR),
        ..seats(1)
    };
    app.has_event(EVENT, later).await;
    assert_eq!(app.request(register(ADA)).await, Err("registration-not-open".into()));
}

#[tokio::test]
async fn a_cancelled_event_cancels_every_registration() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.request_all([register(ADA), register(BOB)]).await;
    app.published().await;

    let event = EventCancelled {
        reason: "rain".into(),
        cancelled_at: Timestamp::now(),
    };
    app.bench.deliver(Outgoing::<EventEvent>::new(EVENT, event)).await;
    app.bench.settle().await;

    let published = app.published().await;
    assert!(
        matches!(published[0], RegistrationEvent::RosterClosed(_)),
        "{published:?}"
    );
    let reason = CancelReason::EventCancelled;
    assert_eq!(
        published[1..],
        [cancelled(ADA, reason, true), cancelled(BOB, reason, false)]
    );
    assert_eq!(app.request(register(EVE)).await, Err("event-cancelled".into()));
}

#[tokio::test]
async fn a_large_roster_is_closed_in_batches() {
    const USER_COUNT: u128 = 2_300;
    let app = App::start().await;
    app.has_event(EVENT, seats(2_000)).await;
    app.bench.deliver_all(users(USER_COUNT).map(register)).await;
    app.published().await;
    assert_eq!(
        app.status_counts().await,
        [("seat".to_owned(), 2_000), ("waiting".to_owned(), 300)].into()
    );

    let event = EventCancelled {
        reason: "rain".into(),
        cancelled_at: Timestamp::now(),
    };
    app.bench.deliver(Outgoing::<EventEvent>::new(EVENT, event)).await;
    app.bench.settle().await;

    assert_eq!(app.status_counts().await, [("cancelled".to_owned(), 2_300)].into());
    let published = app.published().await;
    let user_ids = published.iter().filter_map(|event| match event {
        RegistrationEvent::RegistrationCancelled(cancelled) => Some(cancelled.user_id),
        _ => None,
    });
    assert!(user_ids.eq(users(USER_COUNT)), "in order, each user once");
}

#[tokio::test]
async fn an_ended_event_accepts_no_registration() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    app.request(register(ADA)).await.expect("accepted");
    app.bench
        .deliver(Outgoing::<EventEvent>::new(
            EVENT,
            EventEnded {
                ended_at: Timestamp::now(),
            },
        ))
        .await;
    app.bench.settle().await;
    assert_eq!(app.request(register(BOB)).await, Err("event-ended".into()));
    assert_eq!(app.status_counts().await, [("seat".to_owned(), 1)].into());
}

#[tokio::test]
async fn only_the_service_itself_sends_follow_event() {
    let app = App::start().await;
    let command = follow(2, 1).actor(Actor::User(ORGANIZER));
    assert_eq!(app.request(command).await, Err("forbidden".into()));
}

#[tokio::test]
async fn a_snapshot_with_an_unknown_phase_is_rebuilt_from_the_journal() {
    let app = App::start().await;
    app.has_event(EVENT, seats(1)).await;
    let stored = r#"{"version":1,"event_sequence":1,"phase":"Unheard","terms":null,"taken":0,"waiting":0}"#;
    sqlx::query(
        "INSERT INTO snapshots (stream_id, aggregate, version, state) VALUES ($1, 'registration.roster', 1, $2)",
    )
    .bind(EVENT)
    .bind(stored)
    .execute(app.database.pool())
    .await
    .expect("a snapshot can be written");
    app.bench.restart();
    assert_eq!(app.request(register(ADA)).await, Ok(2));
}
