//! Reminders, which are sent one day before an event starts to users who still have a seat.

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

/// Returns the due time and the start of each scheduled reminder.
async fn scheduled(app: &App) -> Vec<(Timestamp, Timestamp)> {
    let delayed = app.bench.delayed::<NotificationCommand>().await;
    let scheduled = delayed.into_iter().map(|message| match message.body {
        NotificationCommand::SendReminder(SendReminder { starts_at, user_id, .. }) => {
            assert_eq!(message.envelope.key, user_id);
            (message.envelope.due_at.expect("a due time"), starts_at)
        }
        other => panic!("{other:?}"),
    });
    scheduled.collect()
}

/// Returns a time with the precision of the store, which is milliseconds.
fn in_whole_days(days: u64) -> Timestamp {
    let micros = in_days(days).as_micros();
    Timestamp::from_micros(micros - micros % 1_000).expect("a time")
}

async fn reminders(app: &App) -> usize {
    app.all_mails_are_processed().await;
    let subjects = app.server.subjects();
    subjects
        .iter()
        .filter(|subject| subject.starts_with("Reminder"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_a_seat_is_reminded_once_a_day_before_the_event() {
    let app = App::with_mailer().await;
    let (ada, ball, seat) = (app.has_user("Ada").await, Uuid::now_v7(), Uuid::now_v7());
    let starts_at = in_whole_days(10);
    app.bench.deliver(starting(ball, "Ball", starts_at)).await;

    app.bench.deliver(confirmed_as(seat, ball, ada)).await;
    app.bench.deliver_again().await;
    assert_eq!(scheduled(&app).await, [(starts_at - DAY, starts_at)]);
    app.bench.deliver_delayed().await;

    assert_eq!(reminders(&app).await, 1);
    let reminder = app.server.sent().pop().expect("an e-mail");
    assert_eq!(reminder.message_id, reminder_id(seat, starts_at));
    assert!(reminder.text.contains("Ball"), "{}", reminder.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_is_scheduled_when_a_waiting_user_is_promoted() {
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
    assert_eq!(scheduled(&app).await, []);
    app.bench
        .deliver(Outgoing::<RegistrationEvent>::new(ball, promoted))
        .await;
    app.bench.deliver_again().await;
    assert_eq!(scheduled(&app).await, [(starts_at - DAY, starts_at)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reminder_is_scheduled_when_the_event_starts_within_a_day() {
    let app = App::start().await;
    let (ada, ball) = (app.has_user("Ada").await, Uuid::now_v7());
    app.bench
        .deliver(starting(ball, "Ball", now() + DAY - Duration::from_secs(60)))
        .await;
    app.bench.deliver(confirmed(ball, ada)).await;
    app.bench.deliver_again().await;
    assert_eq!(scheduled(&app).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reminder_of_a_seat_is_scheduled_when_its_event_arrives_later() {
    let app = App::start().await;
    let (ada, bob) = (app.has_user("Ada").await, app.has_user("Bob").await);
    let (ball, starts_at) = (Uuid::now_v7(), in_whole_days(10));
    app.bench
        .deliver_all([confirmed(ball, ada), confirmed(ball, bob)])
        .await;
    app.bench.deliver_again().await;
    assert_eq!(scheduled(&app).await, []);

    app.bench.deliver(starting(ball, "Ball", starts_at)).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    assert_eq!(scheduled(&app).await, [(starts_at - DAY, starts_at); 2]);
    app.bench.deliver_delayed().await;

    app.run_mailer(app.server.clone(), quick());
    assert_eq!(reminders(&app).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reminder_is_lost_when_seats_and_the_event_change_concurrently() {
    let app = App::start().await;
    let (first, second) = (in_whole_days(10), in_whole_days(12));
    let events: Vec<_> = (0..40).map(|_| Uuid::now_v7()).collect();
    for some in events.chunks(4) {
        for event in some {
            app.bench.append(starting(*event, "Ball", first));
            app.bench.append(confirmed(*event, Uuid::now_v7()));
        }
        // One transaction for the events, and concurrently one for the seats.
        app.bench.catch_up().await;
        for event in some {
            app.bench.append(rescheduled(*event, "Ball", first, second));
            app.bench.append(confirmed(*event, Uuid::now_v7()));
        }
        app.bench.catch_up().await;
    }
    app.bench.settle().await;

    let scheduled: HashSet<_> = app
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
    assert_eq!(scheduled.len(), 2 * events.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_reminder_for_the_new_time_of_a_rescheduled_event_is_sent() {
    let app = App::with_mailer().await;
    let (ada, ball) = (app.has_user("Ada").await, Uuid::now_v7());
    let (first, second) = (in_whole_days(10), in_whole_days(12));
    app.bench.deliver(starting(ball, "Ball", first)).await;
    app.bench.deliver(confirmed(ball, ada)).await;

    app.bench.deliver(rescheduled(ball, "Ball", first, second)).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    assert_eq!(scheduled(&app).await, [(first - DAY, first), (second - DAY, second)]);
    app.bench.deliver_delayed().await;

    assert_eq!(reminders(&app).await, 1);
    let mails = app.mails_of("REMINDER").await;
    let dropped = mails.iter().find(|mail| mail.get_str("state").ok() == Some("dropped"));
    let reason = dropped.and_then(|mail| mail.get_str("reason").ok());
    assert_eq!(reason, Some("the event was rescheduled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reminder_is_sent_when_an_event_is_rescheduled_and_moved_back() {
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

/// A change between the scheduling of a reminder and its due time.
enum Change {
    RegistrationCancelled,
    EventCancelled,
    OptedOut,
    AccountClosed,
    CheckedIn,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outdated_reminder_is_not_sent() {
    let app = App::start().await;
    let all = [
        Change::RegistrationCancelled,
        Change::EventCancelled,
        Change::OptedOut,
        Change::AccountClosed,
        Change::CheckedIn,
    ];
    let count = all.len();
    for change in all {
        let (ada, ball, seat) = (app.has_user("Ada").await, Uuid::now_v7(), Uuid::now_v7());
        app.bench.deliver(starting(ball, "Ball", in_days(10))).await;
        app.bench.deliver(confirmed_as(seat, ball, ada)).await;
        match change {
            Change::RegistrationCancelled => {
                let end = cancelled(seat, ball, ada, CancelReason::ByAttendee);
                app.bench.deliver(end).await;
            }
            Change::EventCancelled => {
                let (reason, cancelled_at) = ("It rains.".to_owned(), now());
                let end = EventCancelled { reason, cancelled_at };
                app.bench.deliver(Outgoing::<EventEvent>::new(ball, end)).await;
            }
            Change::OptedOut => {
                let mut opted_out = person("Ada");
                opted_out.reminders = false;
                app.bench
                    .deliver(Outgoing::<UserProfileState>::new(ada, opted_out))
                    .await;
            }
            Change::AccountClosed => {
                app.bench.deliver(deactivated(ada)).await;
            }
            Change::CheckedIn => {
                let checked_in = AttendeeCheckedIn {
                    registration_id: seat,
                    user_id: ada,
                    checked_in_at: now(),
                };
                app.bench
                    .deliver(Outgoing::<RegistrationEvent>::new(ball, checked_in))
                    .await;
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
        .map(|mail| mail.get_str("reason").expect("a reason").to_owned())
        .collect();
    reasons.sort();
    assert_eq!(reasons.len(), count);
    let expected = [
        "reminders are turned off",
        "the account is closed",
        "the event is cancelled",
        "the registration no longer qualifies for this e-mail",
        "the registration no longer qualifies for this e-mail",
    ];
    assert_eq!(reasons, expected);
}
