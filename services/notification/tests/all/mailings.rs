//! What everybody at an event is told.

use std::time::Duration;

use contracts::{
    CancelReason, NotificationCommand, NotificationFact, NotificationKind, RegistrationEvent, SeatWaitlisted,
    UserProfileState,
};
use messaging::Outgoing;
use notification::{PIECE, id_of};
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
async fn everybody_with_a_place_is_told_of_the_new_time_once() {
    let app = App::with_mailer().await;
    let (ada, bob, eve) = (
        app.has_user("Ada").await,
        app.has_user("Bob").await,
        app.has_user("Eve").await,
    );
    let (ball, gone) = (Uuid::now_v7(), Uuid::now_v7());
    let (first, second) = (in_days(10), in_days(12));
    app.bench.deliver(starting(ball, "Ball", first)).await;
    app.bench
        .deliver_all([
            confirmed(ball, ada),
            waitlisted(ball, bob),
            confirmed_as(gone, ball, eve),
            cancelled(gone, ball, eve, CancelReason::ByAttendee),
        ])
        .await;

    let cause = app.bench.deliver(rescheduled(ball, "Ball", first, second)).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    app.is_done().await;

    let mut told = app.server.taken();
    told.retain(|letter| letter.subject == "Event rescheduled: Ball");
    told.sort_by(|a, b| a.to_name.cmp(&b.to_name));
    let to: Vec<_> = told
        .iter()
        .map(|letter| (&*letter.to_name, letter.message_id))
        .collect();
    assert_eq!(to, [("Ada", id_of(cause, ada)), ("Bob", id_of(cause, bob))]);
    let told_of = app.facts().await.into_iter().filter_map(|fact| match fact {
        NotificationFact::NotificationSent(sent) if sent.kind == NotificationKind::EventRescheduled => Some(sent),
        _ => None,
    });
    let told_of: Vec<_> = told_of.map(|sent| (sent.cause_id, sent.event_id)).collect();
    assert_eq!(told_of, [(cause, Some(ball)); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_goes_to_those_with_a_seat_who_want_it() {
    let app = App::with_mailer().await;
    let (ada, bob, eve) = (app.has_user("Ada").await, app.has_user("Bob").await, Uuid::now_v7());
    let mut unwilling = person("Eve");
    unwilling.announcements = false;
    app.bench
        .deliver(Outgoing::<UserProfileState>::new(eve, unwilling))
        .await;
    let ball = app.has_event("Ball").await;
    app.bench
        .deliver_all([confirmed(ball, ada), waitlisted(ball, bob), confirmed(ball, eve)])
        .await;

    let announcement = announced(ball, "Bring a loom", "**Really.**\n\n<script>alert(1)</script>");
    app.bench.deliver(announcement).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    app.is_done().await;

    let mut told = app.server.taken();
    told.retain(|letter| letter.subject == "Ball: Bring a loom");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].to_name, "Ada");
    assert!(
        told[0].text.contains("**Really.**\n\n<script>alert(1)</script>\n"),
        "{}",
        told[0].text
    );
    assert!(!told[0].html.contains("<script"), "{}", told[0].html);
    let dropped = app.mails_of("ANNOUNCEMENT").await;
    let mut states: Vec<_> = dropped
        .iter()
        .map(|mail| mail.get_str("state").expect("it has"))
        .collect();
    states.sort_unstable();
    assert_eq!(states, ["dropped", "sent"]);
    assert_eq!(app.facts().await.len(), 4, "who does not want it is not told so");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_told_in_pieces() {
    let app = App::start().await;
    let ball = app.has_event("Ball").await;
    let many = PIECE + 100;
    app.bench
        .deliver_all((0..many).map(|_| confirmed(ball, Uuid::now_v7())))
        .await;

    app.bench.deliver(announced(ball, "Bring a loom", "Really.")).await;
    app.bench.deliver_again().await;
    assert!(
        app.mails_of("ANNOUNCEMENT").await.is_empty(),
        "its cause costs the same for any number"
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
async fn who_had_a_seat_before_is_told_though_it_is_heard_of_later() {
    let app = App::start().await;
    let ball = app.has_event("Ball").await;
    let (ada, bob, eve) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    app.bench.deliver(confirmed(ball, ada).time(now() - 2 * MINUTE)).await;
    let announcement = announced(ball, "Bring a loom", "Really.").time(now() - MINUTE);
    let cause = app.bench.deliver(announcement).await;
    // The mailing has begun, and its next piece is not there yet.
    app.bench.deliver(confirmed(ball, bob).time(now() - 2 * MINUTE)).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    // It is over.
    app.bench.deliver(confirmed(ball, eve).time(now() - 2 * MINUTE)).await;
    app.bench.deliver_again().await;

    let mut told: Vec<_> = app.mails_of("ANNOUNCEMENT").await.iter().map(id).collect();
    told.sort();
    let mut expected = [ada, bob, eve].map(|user| id_of(cause, user));
    expected.sort();
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_registers_afterwards_finds_it_in_the_confirmation() {
    let app = App::with_mailer().await;
    let (ada, ball) = (app.has_user("Ada").await, Uuid::now_v7());
    app.bench.deliver(created(ball, "Ball")).await;
    let moved = rescheduled(ball, "Ball", in_days(1), in_days(2)).time(now() - MINUTE);
    app.bench.deliver(moved).await;
    let announcement = announced(ball, "Bring a loom", "Really.").time(now() - MINUTE);
    app.bench.deliver(announcement).await;
    // Before the mailings go through the registrations.
    app.bench.deliver(confirmed(ball, ada)).await;
    app.bench.deliver_again().await;
    app.bench.settle().await;
    app.is_done().await;

    assert_eq!(app.server.subjects(), ["Your seat is confirmed: Ball"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gave_up_the_place_meanwhile_is_not_told() {
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
    app.is_done().await;

    assert_eq!(app.server.subjects(), ["Your seat is confirmed: Ball"]);
}

fn id(mail: &mongodb::bson::Document) -> Uuid {
    let id = mongodb::bson::deserialize_from_bson::<mongodb::bson::Uuid>(mail["_id"].clone());
    mongo::from_bson(id.expect("an id"))
}
