//! E-mails to all attendees of an event.

use std::time::Duration;

use contracts::{
    CancelReason, NotificationCommand, NotificationFact, NotificationKind, RegistrationEvent, SeatWaitlisted,
    UserProfileState,
};
use messaging::Outgoing;
use notification::{MAX_CHUNK, mail_id};
use uuid::Uuid;

use crate::app::App;
use crate::messages::{
    announced, cancelled, confirmed, confirmed_as, created, in_days, now, person, rescheduled, starting,
};

const MINUTE: Duration = Duration::from_secs(60);

fn waitlisted(event: Uuid, user_id: Uuid) -> Outgoing<RegistrationEvent> {
    let registration_id = Uuid::now_v7();
    Outgoing::new(
        event,
        SeatWaitlisted {
            registration_id,
            user_id,
        },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_active_registration_gets_one_mail_about_the_new_time() {
    let app = App::with_mailer().await;
    let (ada, bob, eve) = (
        app.has_user("Ada").await,
        app.has_user("Bob").await,
        app.has_user("Eve").await,
    );
    let (ball, cancelled_registration) = (Uuid::now_v7(), Uuid::now_v7());
    let (first, second) = (in_days(10), in_days(12));
    app.bench.deliver(starting(ball, "Ball", first)).await;
    app.bench
        .deliver_all([
            confirmed(ball, ada),
            waitlisted(ball, bob),
            confirmed_as(cancelled_registration, ball, eve),
            cancelled(cancelled_registration, ball, eve, CancelReason::ByAttendee),
        ])
        .await;

    let cause = app.bench.deliver(rescheduled(ball, "Ball", first, second)).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    app.all_mails_are_processed().await;

    let mut mails = app.server.sent();
    mails.retain(|mail| mail.subject == "Event rescheduled: Ball");
    mails.sort_by(|a, b| a.to_name.cmp(&b.to_name));
    let to: Vec<_> = mails.iter().map(|mail| (&*mail.to_name, mail.message_id)).collect();
    assert_eq!(to, [("Ada", mail_id(cause, ada)), ("Bob", mail_id(cause, bob))]);
    let sent_facts = app.facts().await.into_iter().filter_map(|fact| match fact {
        NotificationFact::NotificationSent(sent) if sent.kind == NotificationKind::EventRescheduled => Some(sent),
        _ => None,
    });
    let sent_facts: Vec<_> = sent_facts.map(|sent| (sent.cause_id, sent.event_id)).collect();
    assert_eq!(sent_facts, [(cause, Some(ball)); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_goes_to_users_with_a_seat_who_want_announcements() {
    let app = App::with_mailer().await;
    let (ada, bob, eve) = (app.has_user("Ada").await, app.has_user("Bob").await, Uuid::now_v7());
    let mut opted_out = person("Eve");
    opted_out.announcements = false;
    app.bench
        .deliver(Outgoing::<UserProfileState>::new(eve, opted_out))
        .await;
    let ball = app.has_event("Ball").await;
    app.bench
        .deliver_all([confirmed(ball, ada), waitlisted(ball, bob), confirmed(ball, eve)])
        .await;

    let announcement = announced(ball, "Bring a loom", "**Really.**\n\n<script>alert(1)</script>");
    app.bench.deliver(announcement).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    app.all_mails_are_processed().await;

    let mut mails = app.server.sent();
    mails.retain(|mail| mail.subject == "Ball: Bring a loom");
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to_name, "Ada");
    assert!(
        mails[0].text.contains("**Really.**\n\n<script>alert(1)</script>\n"),
        "{}",
        mails[0].text
    );
    assert!(!mails[0].html.contains("<script"), "{}", mails[0].html);
    let dropped = app.mails_of("ANNOUNCEMENT").await;
    let mut states: Vec<_> = dropped
        .iter()
        .map(|mail| mail.get_str("state").expect("every e-mail has a state"))
        .collect();
    states.sort_unstable();
    assert_eq!(states, ["dropped", "sent"]);
    assert_eq!(app.facts().await.len(), 4, "a dropped e-mail causes no fact");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_mailing_is_processed_in_chunks() {
    let app = App::start().await;
    let ball = app.has_event("Ball").await;
    let many = MAX_CHUNK + 100;
    app.bench
        .deliver_all((0..many).map(|_| confirmed(ball, Uuid::now_v7())))
        .await;

    app.bench.deliver(announced(ball, "Bring a loom", "Really.")).await;
    app.bench.deliver_again().await;
    assert!(
        app.mails_of("ANNOUNCEMENT").await.is_empty(),
        "handling the cause enqueues no e-mails itself"
    );
    app.bench.settle().await;
    app.bench.deliver_again().await;
    app.bench.settle().await;

    assert_eq!(app.mails_of("ANNOUNCEMENT").await.len(), many);
    let pieces = app.bench.published::<NotificationCommand>().await;
    let after: Vec<_> = pieces
        .iter()
        .map(|piece| match piece {
            NotificationCommand::ContinueMailing(piece) => piece.after.is_some(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(after, [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_seat_gets_the_announcement_though_it_arrives_later() {
    let app = App::start().await;
    let ball = app.has_event("Ball").await;
    let (ada, bob, eve) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    app.bench.deliver(confirmed(ball, ada).time(now() - 2 * MINUTE)).await;
    let announcement = announced(ball, "Bring a loom", "Really.").time(now() - MINUTE);
    let cause = app.bench.deliver(announcement).await;
    // The mailing has started, and the command for its first chunk is still pending.
    app.bench.deliver(confirmed(ball, bob).time(now() - 2 * MINUTE)).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    // The mailing is complete.
    app.bench.deliver(confirmed(ball, eve).time(now() - 2 * MINUTE)).await;
    app.bench.deliver_again().await;

    let mut mails: Vec<_> = app.mails_of("ANNOUNCEMENT").await.iter().map(id).collect();
    mails.sort();
    let mut expected = [ada, bob, eve].map(|user| mail_id(cause, user));
    expected.sort();
    assert_eq!(mails, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_registration_gets_only_the_confirmation() {
    let app = App::with_mailer().await;
    let (ada, ball) = (app.has_user("Ada").await, Uuid::now_v7());
    app.bench.deliver(created(ball, "Ball")).await;
    let moved = rescheduled(ball, "Ball", in_days(1), in_days(2)).time(now() - MINUTE);
    app.bench.deliver(moved).await;
    let announcement = announced(ball, "Bring a loom", "Really.").time(now() - MINUTE);
    app.bench.deliver(announcement).await;
    // Before the first chunks of the mailings are processed.
    app.bench.deliver(confirmed(ball, ada)).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    app.all_mails_are_processed().await;

    assert_eq!(app.server.subjects(), ["Your seat is confirmed: Ball"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_ends_meanwhile_gets_no_announcement() {
    let app = App::start().await;
    let (ada, ball, seat) = (app.has_user("Ada").await, app.has_event("Ball").await, Uuid::now_v7());
    app.bench.deliver(confirmed_as(seat, ball, ada)).await;
    app.bench.deliver(announced(ball, "Bring a loom", "Really.")).await;
    app.bench.settle().await;
    app.bench
        .deliver(cancelled(seat, ball, ada, CancelReason::UserDeactivated))
        .await;
    app.bench.deliver_again().await;

    app.run_mailer(app.server.clone(), crate::app::quick());
    app.all_mails_are_processed().await;

    assert_eq!(app.server.subjects(), ["Your seat is confirmed: Ball"]);
}

fn id(mail: &mongodb::bson::Document) -> Uuid {
    let id = mongodb::bson::deserialize_from_bson::<mongodb::bson::Uuid>(mail["_id"].clone());
    mongo::from_bson(id.expect("an id"))
}
