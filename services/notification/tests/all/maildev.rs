//! E-mails that are sent by SMTP to a real mail server (maildev).

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::settings::Value;
use contracts::links::Token;
use contracts::{CancelReason, Message, RegistrationEvent, SeatPromoted, SeatWaitlisted};
use messaging::Outgoing;
use notification::server::{Sender, Smtp};
use serde_json::{Value as Json, json};
use testing::eventually;
use tracing_subscriber::filter::LevelFilter;
use uuid::Uuid;

use crate::app::{App, DEADLINE, LINK_KEY, quick};
use crate::messages::{
    announced, cancelled, confirmed, in_days, password_reset, rescheduled, signed_up, starting, verification,
};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: eval \"$(scripts/stack env)\""))
}

/// Returns the e-mails that maildev has received for an address.
async fn inbox(address: &str) -> Vec<Json> {
    let url = format!("{}/email", variable("MAILDEV_URL"));
    let mails: Vec<Json> = reqwest::get(url)
        .await
        .expect("maildev responds")
        .json()
        .await
        .expect("a JSON response");
    let is_for = |mail: &Json| mail["to"][0]["address"] == json!(address);
    mails.into_iter().filter(is_for).collect()
}

fn smtp() -> Smtp {
    let from = Sender::parse("MAIL_FROM", "Rollcall <mail@rollcall.example>").expect("an address");
    Smtp::new(&variable("SMTP_URL"), from, 4).expect("SMTP_URL names a server")
}

/// Returns a unique name and its address.
fn unique_person() -> (String, String) {
    let name = format!("Ada{}", Uuid::now_v7().simple());
    let address = format!("{}@example.org", name.to_lowercase());
    (name, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_arrives_in_html_and_text() {
    let app = App::start().await;
    app.run_mailer(smtp(), quick());
    let (name, address) = unique_person();
    let (ada, ball) = (app.has_user(&name).await, app.has_event("Gärten & Bälle").await);

    let cause = app.bench.deliver(confirmed(ball, ada)).await;
    app.bench.deliver_again().await;
    let mails = eventually("the e-mail arrives", DEADLINE, || async {
        let mails = inbox(&address).await;
        (!mails.is_empty()).then_some(mails)
    })
    .await;
    app.all_mails_are_processed().await;

    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    assert_eq!(mail["subject"], json!("Your seat is confirmed: Gärten & Bälle"));
    assert_eq!(mail["from"][0]["address"], json!("mail@rollcall.example"));
    assert_eq!(mail["to"][0]["name"], json!(name));
    let id = format!("<{}@rollcall.example>", notification::mail_id(cause, ada));
    assert_eq!(mail["headers"]["message-id"], json!(id));
    let text = mail["text"].as_str().expect("a text part");
    assert!(
        text.contains("Gärten & Bälle") && text.contains("18:00 (Europe/Berlin)"),
        "{text}"
    );
    let html = mail["html"].as_str().expect("an HTML part");
    assert!(html.contains("Gärten &amp; Bälle"), "{html}");
    assert_eq!(app.facts().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_wait_while_the_server_is_unreachable() {
    let app = App::start().await;
    let from = Sender::parse("MAIL_FROM", "mail@rollcall.example").expect("an address");
    let unreachable = Smtp::new("smtp://127.0.0.1:1", from, 4).expect("a valid URL");
    let mailer = app.run_mailer(unreachable, quick());
    let (ada, ball) = (app.has_user("Ada").await, app.has_event("Ball").await);
    app.bench.deliver(confirmed(ball, ada)).await;
    let reason = eventually("an attempt was made", DEADLINE, || async {
        let mails = app.mails().await;
        mails[0].get_str("reason").ok().map(str::to_owned)
    })
    .await;
    assert_eq!(reason, "the mail server is unreachable");
    mailer.abort();

    // The e-mail is due again immediately, because its claim was released.
    app.run_mailer(app.server.clone(), quick());
    tokio::time::timeout(Duration::from_secs(20), app.all_mails_are_processed())
        .await
        .expect("the e-mail is sent");
    assert_eq!(app.server.sent().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_mail_arrives_once() {
    let app = App::start().await;
    app.run_mailer(smtp(), quick());
    let (name, address) = unique_person();
    let ada = app.has_user(&name).await;
    let (ball, talk, fair) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    for (event, title) in [(ball, "Ball"), (talk, "Talk"), (fair, "Fair")] {
        app.bench.deliver(starting(event, title, in_days(10))).await;
    }
    let registration_id = Uuid::now_v7();
    let waitlisted = SeatWaitlisted {
        registration_id,
        user_id: ada,
    };
    let promoted = SeatPromoted {
        registration_id,
        user_id: ada,
    };

    twice(&app, signed_up(ada)).await;
    twice(&app, verification(ada, in_days(1))).await;
    twice(&app, password_reset(ada, in_days(1))).await;
    twice(&app, Outgoing::<RegistrationEvent>::new(talk, waitlisted)).await;
    twice(&app, Outgoing::<RegistrationEvent>::new(talk, promoted)).await;
    twice(&app, cancelled(registration_id, talk, ada, CancelReason::ByOrganizer)).await;
    twice(&app, cancelled(Uuid::now_v7(), fair, ada, CancelReason::EventCancelled)).await;
    twice(&app, confirmed(ball, ada)).await;
    twice(&app, announced(ball, "Bring a loom", "Really.\nDo.")).await;
    twice(&app, rescheduled(ball, "Ball", in_days(10), in_days(12))).await;
    app.bench.settle().await;
    app.bench.deliver_delayed().await;
    app.all_mails_are_processed().await;

    let mut subjects: Vec<_> = inbox(&address)
        .await
        .iter()
        .map(|mail| mail["subject"].as_str().expect("a subject").to_owned())
        .collect();
    subjects.sort();
    let expected = [
        "Ball: Bring a loom",
        "Confirm your e-mail address",
        "Event cancelled: Fair",
        "Event rescheduled: Ball",
        "Reminder: Ball",
        "Reset your password",
        "Welcome to Rollcall",
        "You are on the waiting list: Talk",
        "You now have a seat: Talk",
        "Your registration was cancelled: Talk",
        "Your seat is confirmed: Ball",
    ];
    assert_eq!(subjects, expected);
}

async fn twice<M: Message>(app: &App, message: Outgoing<M>) {
    app.bench.deliver(message).await;
    app.bench.deliver_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_only_in_the_mail_and_never_stored_or_logged() {
    let log = Log::start();
    let app = App::start().await;
    app.run_mailer(smtp(), quick());
    let (name, address) = unique_person();
    let ada = app.has_user(&name).await;
    app.bench.deliver(verification(ada, in_days(1))).await;
    app.bench.deliver(password_reset(ada, in_days(1))).await;
    app.all_mails_are_processed().await;

    let mails = eventually("both e-mails arrive", DEADLINE, || async {
        let mails = inbox(&address).await;
        (mails.len() == 2).then_some(mails)
    })
    .await;
    let (stored, log) = (app.stored_text().await, log.text());
    assert!(
        log.contains(&ada.to_string()) || log.contains("was sent"),
        "the log is captured"
    );
    for mail in mails {
        let text = mail["text"].as_str().expect("a text part");
        let link = text
            .lines()
            .find(|line| line.contains('#'))
            .expect("a line with a link");
        let (_, token) = link.split_once('#').expect("a link with a token");
        Token::parse(token).expect("a token");
        for text in [&stored, &log] {
            assert!(!text.contains(token), "{text}");
            assert!(!text.contains(LINK_KEY), "{text}");
        }
    }
}

/// Everything that this process logs from now on, at every level, including the lines of other tests.
#[derive(Clone)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> Self {
        let log = Self(Arc::default());
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        log
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
