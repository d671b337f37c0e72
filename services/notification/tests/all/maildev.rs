//! A real mail server.

use std::time::Duration;

use chassis::settings::Value;
use notification::server::{Sender, Smtp};
use serde_json::{Value as Json, json};
use testing::eventually;
use uuid::Uuid;

use crate::app::{App, DEADLINE, confirmed, quick};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: eval \"$(scripts/stack env)\""))
}

/// The mails that maildev holds for an address.
async fn inbox(address: &str) -> Vec<Json> {
    let url = format!("{}/email", variable("MAILDEV_URL"));
    let mails: Vec<Json> = reqwest::get(url)
        .await
        .expect("maildev answers")
        .json()
        .await
        .expect("it is JSON");
    let is_for = |mail: &Json| mail["to"][0]["address"] == json!(address);
    mails.into_iter().filter(is_for).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_arrives_in_html_and_text() {
    let app = App::start().await;
    let from = Sender::parse("MAIL_FROM", "Rollcall <mail@rollcall.example>").expect("an address");
    let smtp = Smtp::new(&variable("SMTP_URL"), from, 4).expect("SMTP_URL names a server");
    app.run_mailer(smtp, quick());
    let name = format!("Ada{}", Uuid::now_v7().simple());
    let address = format!("{}@example.org", name.to_lowercase());
    let (ada, ball) = (app.has_user(&name).await, app.has_event("Gärten & Bälle").await);

    let cause = app.bench.deliver(confirmed(ball, ada)).await;
    app.bench.deliver_again().await;
    let mails = eventually("the mail is there", DEADLINE, || async {
        let mails = inbox(&address).await;
        (!mails.is_empty()).then_some(mails)
    })
    .await;
    app.is_done().await;

    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    assert_eq!(mail["subject"], json!("You have a seat: Gärten & Bälle"));
    assert_eq!(mail["from"][0]["address"], json!("mail@rollcall.example"));
    assert_eq!(mail["to"][0]["name"], json!(name));
    let id = format!("<{}@rollcall.example>", notification::id_of(cause, ada));
    assert_eq!(mail["headers"]["message-id"], json!(id));
    let text = mail["text"].as_str().expect("it has a text");
    assert!(
        text.contains("Gärten & Bälle") && text.contains("18:00 (Europe/Berlin)"),
        "{text}"
    );
    let html = mail["html"].as_str().expect("it has HTML");
    assert!(html.contains("Gärten &amp; Bälle"), "{html}");
    assert_eq!(app.facts().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_wait_while_nobody_listens() {
    let app = App::start().await;
    let from = Sender::parse("MAIL_FROM", "mail@rollcall.example").expect("an address");
    let nobody = Smtp::new("smtp://127.0.0.1:1", from, 4).expect("a URL");
    let away = app.run_mailer(nobody, quick());
    let (ada, ball) = (app.has_user("Ada").await, app.has_event("Ball").await);
    app.bench.deliver(confirmed(ball, ada)).await;
    let reason = eventually("it was tried", DEADLINE, || async {
        let mails = app.mails().await;
        mails[0].get_str("reason").ok().map(str::to_owned)
    })
    .await;
    assert_eq!(reason, "the mail server can't be reached");
    away.abort();

    // It went back to where it was: no claim to wait for.
    app.run_mailer(app.server.clone(), quick());
    tokio::time::timeout(Duration::from_secs(20), app.is_done())
        .await
        .expect("it is sent");
    assert_eq!(app.server.taken().len(), 1);
}
