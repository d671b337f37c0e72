//! E-mails with links, which the gateway requests by command.

use std::time::Duration;

use contracts::links::{LinkKey, Purpose, Token};
use contracts::replies::Reply;
use contracts::{NotificationFact, NotificationKind, UserProfileState};
use messaging::Outgoing;
use notification::mail_id;
use testing::eventually;
use uuid::Uuid;

use crate::app::{App, DEADLINE, LINK_KEY, quick};
use crate::messages::{deactivated, in_days, now, password_reset, person, profile, verification};

fn token(text: &str, page: &str) -> Token {
    let (_, rest) = text
        .split_once(&format!("https://rollcall.example/{page}#"))
        .unwrap_or_else(|| panic!("no link to {page}: {text}"));
    Token::parse(rest.lines().next().unwrap_or_default()).expect("a token")
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_sent_once_with_tokens_that_the_gateway_accepts() {
    let app = App::with_mailer().await;
    let ada = app.has_user("Ada").await;
    let expires_at = in_days(1);

    let verify = app.bench.deliver(verification(ada, expires_at)).await;
    app.bench.deliver_again().await;
    let reset = app.bench.deliver(password_reset(ada, expires_at)).await;
    app.bench.deliver_again().await;
    app.all_mails_are_processed().await;

    let mut mails = app.server.sent();
    mails.sort_by(|a, b| a.subject.cmp(&b.subject));
    let [email, password] = &mails[..] else {
        panic!("{:?}", app.server.subjects());
    };
    assert_eq!(
        (email.message_id, password.message_id),
        (mail_id(verify, ada), mail_id(reset, ada))
    );
    let key = LinkKey::new(LINK_KEY);
    let token_of = [
        (email, "verification", Purpose::VerifyEmail),
        (password, "password-reset", Purpose::ResetPassword),
    ];
    for (mail, page, purpose) in token_of {
        let token = token(&mail.text, page);
        assert_eq!((token.link.user_id, token.link.expires_at), (ada, expires_at));
        assert!(key.is_genuine(purpose, &token, "ada@example.org"));
    }
    let facts = app.facts().await;
    assert!(
        matches!(
            facts[..],
            [
                NotificationFact::NotificationSent(_),
                NotificationFact::NotificationSent(_)
            ]
        ),
        "{facts:?}"
    );
    assert!(matches!(app.bench.reply(verify).await, Reply::CommandAccepted(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_bound_to_the_address_of_its_recipient() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    app.bench.deliver(verification(ada, in_days(1))).await;
    app.bench.deliver(profile(ada, "Augusta")).await;

    app.run_mailer(app.server.clone(), quick());
    app.all_mails_are_processed().await;

    let mail = app.server.sent().remove(0);
    assert_eq!(mail.to_address, "augusta@example.org");
    let token = token(&mail.text, "verification");
    let key = LinkKey::new(LINK_KEY);
    assert!(key.is_genuine(Purpose::VerifyEmail, &token, "augusta@example.org"));
    assert!(!key.is_genuine(Purpose::VerifyEmail, &token, "ada@example.org"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_waits_for_the_profile_version_that_its_command_expects() {
    let app = App::with_mailer().await;
    let ada = app.has_user("Ada").await;

    app.bench
        .deliver(verification(ada, in_days(1)).expected_version(Some(2)))
        .await;
    app.bench.deliver_again().await;
    eventually("the e-mail waits", DEADLINE, || async {
        let mails = app.mails().await;
        (mails[0].get_str("missing").ok() == Some("profile")).then_some(())
    })
    .await;
    app.bench.deliver(profile(ada, "Augusta")).await;
    app.all_mails_are_processed().await;

    let to: Vec<_> = app.server.attempts().into_iter().map(|mail| mail.to_address).collect();
    assert_eq!(to, ["augusta@example.org"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_link_is_not_sent() {
    let app = App::with_mailer().await;
    // The second user has no profile.
    for user in [app.has_user("Ada").await, Uuid::now_v7()] {
        app.bench
            .deliver(password_reset(user, now() - Duration::from_secs(1)))
            .await;
        app.bench.deliver_again().await;
    }
    app.all_mails_are_processed().await;

    assert!(app.server.attempts().is_empty());
    let facts = app.facts().await;
    assert_eq!(facts.len(), 2);
    for fact in facts {
        let NotificationFact::NotificationFailed(failed) = fact else {
            panic!("{fact:?}");
        };
        assert_eq!(
            (failed.kind, &*failed.reason),
            (NotificationKind::PasswordReset, "expired")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_account_gets_no_password_reset_mail() {
    let app = App::start().await;
    let ada = app.has_user("Ada").await;
    app.bench.deliver(deactivated(ada)).await;
    app.bench.deliver(password_reset(ada, in_days(1))).await;
    app.bench.deliver_again().await;

    app.run_mailer(app.server.clone(), quick());
    app.all_mails_are_processed().await;

    assert!(app.server.attempts().is_empty());
    app.assert_failed(1, "the account is closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_already_verified_gets_no_verification_mail() {
    let app = App::with_mailer().await;
    let ada = Uuid::now_v7();
    let mut verified = person("Ada");
    verified.email_verified = true;
    app.bench
        .deliver(Outgoing::<UserProfileState>::new(ada, verified))
        .await;
    app.bench.deliver(verification(ada, in_days(1))).await;
    app.bench.deliver_again().await;

    eventually("the e-mail is dropped", DEADLINE, || async {
        let mails = app.mails().await;
        (mails[0].get_str("state").ok() == Some("dropped")).then_some(())
    })
    .await;
    assert!(app.server.attempts().is_empty());
    assert!(app.facts().await.is_empty(), "a dropped e-mail causes no fact");
}
