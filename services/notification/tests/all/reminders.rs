//! A day before an event begins, who has a seat is reminded, if that is still true.

use std::collections::HashSet;
use std::time::Duration;

use contracts::{
    AttendeeCheckedIn, CancelReason, EventCancelled, EventEvent, NotificationCommand, RegistrationEvent, SeatPromoted,
    SeatWaitlisted, SendReminder, Timestamp, UserProfileState,
};
use messaging::Outgoing;
use notification::reminder_id;
use uuid::Uuid;

use crate::app::{App, quick};
use crate::messages::{cancelled, confirmed, confirmed_as, deactivated, in_days, now, person, rescheduled, starting};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is to be sent later: when, and of which start.
async fn planned(app: &App) -> Vec<(Timestamp, Timestamp)> {
    let delayed = app.bench.delayed::<NotificationCommand>().await;
    let planned = delayed.into_iter().map(|message| match message.body {
        NotificationCommand::SendReminder(SendReminder { starts_at, user_id, .. }) => {
            assert_eq!(message.envelope.key, user_id);
            (message.envelope.due_at.expect("it is delayed"), starts_at)
        }
        other => panic!("{other:?}"),
    });
    planned.collect()
}

/// To the millisecond, as the store has it.
fn in_whole_days(days: u64) -> Timestamp {
    let micros = in_days(days).as_micros();
    Timestamp::from_micros(micros - micros % 1_000).expect("a time")
}

async fn reminders(app: &App) -> usize {
    app.is_done().await;
    let subjects = app.server.subjects();
    subjects
        .iter()
        .filter(|subject| subject.starts_with("Reminder"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_seat_is_reminded_once_a_day_before() {
    let app = App::with_mailer().await;
    let (ada, ball, seat) = (app.has_user("Ada").await, Uuid::now_v7(), Uuid::now_v7());
    let starts_at = in_whole_days(10);
    app.bench.deliver(starting(ball, "Ball", starts_at)).await;

    app.bench.deliver(confirmed_as(seat, ball, ada)).await;
    app.bench.deliver_again().await;
    assert_eq!(planned(&app).await, [(starts_at - DAY, starts_at)]);
    app.bench.deliver_delayed().await;

    assert_eq!(reminders(&app).await, 1);
    let reminder = app.server.taken().pop().expect("the newest");
    assert_eq!(reminder.message_id, reminder_id(seat, starts_at));
    assert!(reminder.text.contains("Ball"), "{}", reminder.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_promoted_is_reminded_and_who_waits_is_not() {
    let app = App::start().await;
    let (ada, ball, registration_id) = (app.has_user("Ada").await, Uuid::now_v7(), Uuid::now_v7());
    let starts_at = in_whole_days(10);
    app.bench.deliver(starting(ball, "Ball", starts_at)).await;
    let (waitlisted, promoted) = (
        SeatWaitlisted {
            registration_id,
            user_id: ada,
        },
        SeatPromoted {
            registration_id,
            user_id: ada,
        },
    );
    app.bench
        .deliver(Outgoing::<RegistrationEvent>::new(ball, waitlisted))
        .await;
    assert_eq!(planned(&app).await, []);
    app.bench
        .deliver(Outgoing::<RegistrationEvent>::new(ball, promoted))
        .await;
    app.bench.deliver_again().await;
    assert_eq!(planned(&app).await, [(starts_at - DAY, starts_at)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begins_within_a_day_needs_no_reminder() {
    let app = App::start().await;
    let (ada, ball) = (app.has_user("Ada").await, Uuid::now_v7());
    app.bench
        .deliver(starting(ball, "Ball", now() + DAY - Duration::from_secs(60)))
        .await;
    app.bench.deliver(confirmed(ball, ada)).await;
    app.bench.deliver_again().await;
    assert_eq!(planned(&app).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_is_known_before_its_event_is_reminded_of_when_that_comes() {
    let app = App::start().await;
    let (ada, bob) = (app.has_user("Ada").await, app.has_user("Bob").await);
    let (ball, starts_at) = (Uuid::now_v7(), in_whole_days(10));
    app.bench
        .deliver_all([confirmed(ball, ada), confirmed(ball, bob)])
        .await;
    app.bench.deliver_again().await;
    assert_eq!(planned(&app).await, []);

    app.bench.deliver(starting(ball, "Ball", starts_at)).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    assert_eq!(planned(&app).await, [(starts_at - DAY, starts_at); 2]);
    app.bench.deliver_delayed().await;

    app.run_mailer(app.server.clone(), quick());
    assert_eq!(reminders(&app).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn seats_and_changes_of_the_event_that_come_at_the_same_time_lose_no_reminder() {
    let app = App::start().await;
    let (first, second) = (in_whole_days(10), in_whole_days(12));
    let events: Vec<_> = (0..40).map(|_| Uuid::now_v7()).collect();
    for some in events.chunks(4) {
        for event in some {
            app.bench.append(starting(*event, "Ball", first));
            app.bench.append(confirmed(*event, Uuid::now_v7()));
        }
        // One transaction for the events, and at the same time one for the seats.
        app.bench.catch_up().await;
        for event in some {
            app.bench.append(rescheduled(*event, "Ball", first, second));
            app.bench.append(confirmed(*event, Uuid::now_v7()));
        }
        app.bench.catch_up().await;
    }
    app.bench.settle().await;

    let planned: HashSet<_> = app
        .bench
        .delayed::<NotificationCommand>()
        .await
        .into_iter()
        .filter_map(|message| match message.body {
            NotificationCommand::SendReminder(reminder) => {
                (reminder.starts_at == second).then_some(reminder.registration_id)
            }
            _ => None,
        })
        .collect();
    assert_eq!(planned.len(), 2 * events.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescheduled_event_is_reminded_of_at_its_new_time_only() {
    let app = App::with_mailer().await;
    let (ada, ball) = (app.has_user("Ada").await, Uuid::now_v7());
    let (first, second) = (in_whole_days(10), in_whole_days(12));
    app.bench.deliver(starting(ball, "Ball", first)).await;
    app.bench.deliver(confirmed(ball, ada)).await;

    app.bench.deliver(rescheduled(ball, "Ball", first, second)).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    assert_eq!(planned(&app).await, [(first - DAY, first), (second - DAY, second)]);
    app.bench.deliver_delayed().await;

    assert_eq!(reminders(&app).await, 1);
    let mails = app.mails_of("REMINDER").await;
    let dropped = mails.iter().find(|mail| mail.get_str("state").ok() == Some("dropped"));
    let reason = dropped.and_then(|mail| mail.get_str("reason").ok());
    assert_eq!(reason, Some("the event was rescheduled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_again_is_one_reminder() {
    let app = App::with_mailer().await;
    let (ada, ball) = (app.has_user("Ada").await, Uuid::now_v7());
    let (first, second) = (in_whole_days(10), in_whole_days(12));
    app.bench.deliver(starting(ball, "Ball", first)).await;
    app.bench.deliver(confirmed(ball, ada)).await;
    app.bench
        .deliver_all([
            rescheduled(ball, "Ball", first, second),
            rescheduled(ball, "Ball", second, first),
        ])
        .await;
    app.bench.settle().await;
    app.bench.deliver_delayed().await;

    assert_eq!(reminders(&app).await, 1);
}

/// What can come between the plan and the reminder.
enum Between {
    RegistrationCancelled,
    EventCancelled,
    OptedOut,
    AccountClosed,
    CheckedIn,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_true_is_not_said() {
    let app = App::start().await;
    let all = [
        Between::RegistrationCancelled,
        Between::EventCancelled,
        Between::OptedOut,
        Between::AccountClosed,
        Between::CheckedIn,
    ];
    let count = all.len();
    for between in all {
        let (ada, ball, seat) = (app.has_user("Ada").await, Uuid::now_v7(), Uuid::now_v7());
        app.bench.deliver(starting(ball, "Ball", in_days(10))).await;
        app.bench.deliver(confirmed_as(seat, ball, ada)).await;
        match between {
            Between::RegistrationCancelled => {
                let end = cancelled(seat, ball, ada, CancelReason::ByAttendee);
                app.bench.deliver(end).await;
            }
            Between::EventCancelled => {
                let (reason, cancelled_at) = ("It rains.".to_owned(), now());
                let end = EventCancelled { reason, cancelled_at };
                app.bench.deliver(Outgoing::<EventEvent>::new(ball, end)).await;
            }
            Between::OptedOut => {
                let mut unwilling = person("Ada");
                unwilling.reminders = false;
                app.bench
                    .deliver(Outgoing::<UserProfileState>::new(ada, unwilling))
                    .await;
            }
            Between::AccountClosed => {
                app.bench.deliver(deactivated(ada)).await;
            }
            Between::CheckedIn => {
                let here = AttendeeCheckedIn {
                    registration_id: seat,
                    user_id: ada,
                    checked_in_at: now(),
                };
                app.bench.deliver(Outgoing::<RegistrationEvent>::new(ball, here)).await;
            }
        }
        app.bench.deliver_again().await;
    }
    app.bench.deliver_delayed().await;

    app.run_mailer(app.server.clone(), quick());
    assert_eq!(reminders(&app).await, 0);
    let mut reasons: Vec<_> = app
        .mails_of("REMINDER")
        .await
        .iter()
        .map(|mail| mail.get_str("reason").expect("why").to_owned())
        .collect();
    reasons.sort();
    assert_eq!(reasons.len(), count);
    let expected = [
        "reminders are not wanted",
        "the account is closed",
        "the event is cancelled",
        "the place was given up",
        "the place was given up",
    ];
    assert_eq!(reasons, expected);
}
