use contracts::Timestamp;
use contracts::links::Token;

use super::*;

const KEY: &str = "a key of thirty-two characters..";
const HOSTILE: &str = "Bring **two** looms & <script>alert(1)</script>\r\n\r\n<img src=x onerror=y>\u{7}\n-- \nBob";

const KINDS: [NotificationKind; 11] = [
    Kind::Welcome,
    Kind::SeatConfirmed,
    Kind::SeatWaitlisted,
    Kind::SeatPromoted,
    Kind::RegistrationCancelled,
    Kind::EventCancelled,
    Kind::EventRescheduled,
    Kind::Reminder,
    Kind::Announcement,
    Kind::EmailVerification,
    Kind::PasswordReset,
];

fn profile(time_zone: &str) -> Profile {
    Profile::new(Uuid::from_u128(1), "ada@example.org", "Ada Lovelace", time_zone)
}

fn event() -> Event {
    let starts_at = Timestamp::parse("2026-07-03T16:00:00Z").expect("a time");
    Event {
        id: mongo::to_bson(Uuid::from_u128(2)),
        title: "Looms & <Engines>".to_owned(),
        venue: "Royal Institution".to_owned(),
        starts_at: bson::DateTime::from_millis(starts_at.as_micros() / 1000),
        time_zone: "Europe/London".to_owned(),
        cancel_reason: Some("The hall burned down".to_owned()),
        cancelled_at: None,
    }
}

fn link() -> Link {
    Link {
        user_id: Uuid::from_u128(1),
        nonce: Uuid::from_u128(5),
        expires_at: Timestamp::parse("2026-07-03T16:00:00.000001Z").expect("a time"),
    }
}

fn content(kind: NotificationKind, event: &Event) -> MailContent<'_> {
    match kind {
        Kind::EventRescheduled => MailContent::Rescheduled(event.starts_at),
        Kind::Announcement => MailContent::Announcement {
            subject: "Looms\r\nBcc: everybody@example.org",
            body: HOSTILE,
        },
        Kind::EmailVerification | Kind::PasswordReset => MailContent::Link(link()),
        _ => MailContent::Plain,
    }
}

fn render(kind: NotificationKind, profile: &Profile, event: &Event) -> RenderedMail {
    let has_no_event = matches!(kind, Kind::Welcome | Kind::EmailVerification | Kind::PasswordReset);
    let input = MailInput {
        kind,
        mail_id: Uuid::from_u128(3),
        profile,
        registration: (!has_no_event).then_some((event, Uuid::from_u128(4))),
        content: content(kind, event),
    };
    Templates::new("https://rollcall.example/", LinkKey::new(KEY))
        .render(&input)
        .expect("every kind has a template")
}

#[test]
fn every_kind_has_a_subject_a_text_and_an_html_part() {
    for kind in KINDS {
        let mail = render(kind, &profile("UTC"), &event());
        assert!(!mail.subject.is_empty(), "{kind:?}");
        assert!(
            mail.text.starts_with("Hello Ada Lovelace,\n"),
            "{kind:?}: {}",
            mail.text
        );
        assert!(mail.html.contains("Hello Ada Lovelace,"), "{kind:?}");
        assert!(
            mail.text.contains("https://rollcall.example/"),
            "{kind:?}: {}",
            mail.text
        );
        for leftover in ["{{", "{%", "undefined", "none", "//v1"] {
            assert!(!mail.text.contains(leftover), "{kind:?}: {}", mail.text);
            assert!(!mail.html.contains(leftover), "{kind:?}: {}", mail.html);
        }
    }
}

#[test]
fn the_start_is_shown_in_the_recipients_time_zone_and_in_the_venues_if_it_differs() {
    let abroad = render(Kind::SeatConfirmed, &profile("America/New_York"), &event());
    assert!(
        abroad.text.contains("Friday, 3 July 2026, 12:00 (America/New_York)"),
        "{}",
        abroad.text
    );
    assert!(
        abroad
            .text
            .contains("Local time at the venue: Friday, 3 July 2026, 17:00 (Europe/London)"),
        "{}",
        abroad.text
    );

    let home = render(Kind::SeatConfirmed, &profile("Europe/London"), &event());
    assert!(
        home.text.contains("Friday, 3 July 2026, 17:00 (Europe/London)"),
        "{}",
        home.text
    );
    assert!(!home.text.contains("at the venue"), "{}", home.text);
    assert!(!home.html.contains("at the venue"), "{}", home.html);
}

#[test]
fn an_unknown_zone_is_shown_as_utc() {
    let mail = render(Kind::SeatConfirmed, &profile("Mars/Olympus_Mons"), &event());
    assert!(mail.text.contains("16:00 (UTC)"), "{}", mail.text);
}

#[test]
fn html_is_escaped_and_text_is_not() {
    let mail = render(Kind::SeatConfirmed, &profile("UTC"), &event());
    assert!(mail.html.contains("Looms &amp; &lt;Engines&gt;"), "{}", mail.html);
    assert!(mail.text.contains("Looms & <Engines>"), "{}", mail.text);
    assert_eq!(mail.subject, "Your seat is confirmed: Looms & <Engines>");
}

#[test]
fn a_users_text_cannot_add_a_line_or_a_header() {
    let mut event = event();
    event.title = "Ball\r\nBcc: everybody@example.org\n\nHello".to_owned();
    let mail = render(Kind::SeatConfirmed, &profile("UTC"), &event);
    assert_eq!(
        mail.subject,
        "Your seat is confirmed: Ball Bcc: everybody@example.org Hello"
    );
}

#[test]
fn the_organizers_reason_is_shown_if_there_is_one() {
    let with_reason = render(Kind::EventCancelled, &profile("UTC"), &event());
    assert!(
        with_reason
            .text
            .contains("Message from the organizer: The hall burned down"),
        "{}",
        with_reason.text
    );

    let mut event = event();
    event.cancel_reason = None;
    let without_reason = render(Kind::EventCancelled, &profile("UTC"), &event);
    assert!(
        !without_reason.text.contains("Message from the organizer"),
        "{}",
        without_reason.text
    );
}

#[test]
fn an_announcement_is_shown_as_plain_text_whatever_it_contains() {
    let mail = render(Kind::Announcement, &profile("UTC"), &event());
    assert_eq!(mail.subject, "Looms & <Engines>: Looms Bcc: everybody@example.org");
    assert!(
        mail.text
            .contains("Bring **two** looms & <script>alert(1)</script>\n\n<img src=x onerror=y>\n-- \nBob\n"),
        "{}",
        mail.text
    );
    assert!(
        mail.html.contains("Bring **two** looms &amp; &lt;script&gt;alert(1)&lt;&#x2f;script&gt;<br>\n<br>\n&lt;img src=x onerror=y&gt;<br>"),
        "{}",
        mail.html
    );
    for injected in ["<script", "<img", "onerror=\""] {
        assert!(!mail.html.contains(injected), "{}", mail.html);
    }
}

#[test]
fn a_link_has_a_token_for_the_current_address_in_its_fragment() {
    for (kind, page, purpose) in [
        (Kind::EmailVerification, "verification", Purpose::VerifyEmail),
        (Kind::PasswordReset, "password-reset", Purpose::ResetPassword),
    ] {
        let mail = render(kind, &profile("Europe/Berlin"), &event());
        let address = format!("https://rollcall.example/{page}#");
        let (_, rest) = mail.text.split_once(&address).expect("the text contains the link");
        let text = rest.lines().next().expect("the link is followed by a line break");
        let token = Token::parse(text).expect("a token");
        assert_eq!(token.link, link());
        assert!(LinkKey::new(KEY).is_genuine(purpose, &token, "ada@example.org"));
        assert!(mail.html.contains(&format!("#{text}\"")), "{}", mail.html);
        assert!(
            mail.text
                .contains("expires on Friday, 3 July 2026, 18:00 (Europe/Berlin)"),
            "{}",
            mail.text
        );
    }
}

#[test]
fn mails_about_a_seat_link_to_a_calendar_entry() {
    let address = "https://rollcall.example/v1/events/00000000-0000-0000-0000-000000000002/calendar.ics";
    for kind in [
        Kind::SeatConfirmed,
        Kind::SeatPromoted,
        Kind::EventRescheduled,
        Kind::Reminder,
    ] {
        let mail = render(kind, &profile("UTC"), &event());
        assert!(mail.text.contains(address), "{kind:?}: {}", mail.text);
        assert!(mail.html.contains("calendar.ics"), "{kind:?}: {}", mail.html);
    }
}

#[test]
fn a_mail_about_a_rescheduled_event_shows_both_times() {
    let mut event = event();
    let render_rescheduled = |event: &Event, previous| {
        let input = MailInput {
            kind: Kind::EventRescheduled,
            mail_id: Uuid::from_u128(3),
            profile: &profile("Europe/Berlin"),
            registration: Some((event, Uuid::from_u128(4))),
            content: MailContent::Rescheduled(previous),
        };
        let templates = Templates::new("https://rollcall.example", LinkKey::new(KEY));
        templates.render(&input).expect("the kind has a template")
    };
    let previous = event.starts_at;
    event.starts_at = bson::DateTime::from_millis(previous.timestamp_millis() + 60 * 60 * 1000);
    let mail = render_rescheduled(&event, previous);
    assert!(
        mail.text.contains("  Friday, 3 July 2026, 19:00 (Europe/Berlin)"),
        "{}",
        mail.text
    );
    assert!(
        mail.text
            .contains("Previous time: Friday, 3 July 2026, 18:00 (Europe/Berlin)"),
        "{}",
        mail.text
    );
}
