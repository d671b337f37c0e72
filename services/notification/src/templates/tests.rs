use contracts::Timestamp;
use contracts::links::Token;

use super::*;

const KEY: &str = "a key of thirty-two characters..";
const NASTY: &str = "Bring **two** looms & <script>alert(1)</script>\r\n\r\n<img src=x onerror=y>\u{7}\n-- \nBob";

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

fn content(kind: NotificationKind, event: &Event) -> Content<'_> {
    match kind {
        Kind::EventRescheduled => Content::Rescheduled(event.starts_at),
        Kind::Announcement => Content::Announcement {
            subject: "Looms\r\nBcc: everybody@example.org",
            body: NASTY,
        },
        Kind::EmailVerification | Kind::PasswordReset => Content::Link(link()),
        _ => Content::Plain,
    }
}

fn letter(kind: NotificationKind, profile: &Profile, event: &Event) -> Letter {
    let alone = matches!(kind, Kind::Welcome | Kind::EmailVerification | Kind::PasswordReset);
    let about = About {
        kind,
        mail_id: Uuid::from_u128(3),
        profile,
        registration: (!alone).then_some((event, Uuid::from_u128(4))),
        content: content(kind, event),
    };
    Letters::new("https://rollcall.example/", LinkKey::new(KEY))
        .write(&about)
        .expect("a letter")
}

#[test]
fn every_kind_has_a_letter_with_subject_text_and_html() {
    for kind in KINDS {
        let letter = letter(kind, &profile("UTC"), &event());
        assert!(!letter.subject.is_empty(), "{kind:?}");
        assert!(
            letter.text.starts_with("Hello Ada Lovelace,\n"),
            "{kind:?}: {}",
            letter.text
        );
        assert!(letter.html.contains("Hello Ada Lovelace,"), "{kind:?}");
        assert!(
            letter.text.contains("https://rollcall.example/"),
            "{kind:?}: {}",
            letter.text
        );
        for leftover in ["{{", "{%", "undefined", "none", "//v1"] {
            assert!(!letter.text.contains(leftover), "{kind:?}: {}", letter.text);
            assert!(!letter.html.contains(leftover), "{kind:?}: {}", letter.html);
        }
    }
}

#[test]
fn the_time_is_the_recipients_with_the_venues_beside_it_where_it_differs() {
    let abroad = letter(Kind::SeatConfirmed, &profile("America/New_York"), &event());
    assert!(
        abroad.text.contains("Friday, 3 July 2026, 12:00 (America/New_York)"),
        "{}",
        abroad.text
    );
    assert!(
        abroad
            .text
            .contains("At the venue: Friday, 3 July 2026, 17:00 (Europe/London)"),
        "{}",
        abroad.text
    );

    let home = letter(Kind::SeatConfirmed, &profile("Europe/London"), &event());
    assert!(
        home.text.contains("Friday, 3 July 2026, 17:00 (Europe/London)"),
        "{}",
        home.text
    );
    assert!(!home.text.contains("At the venue"), "{}", home.text);
    assert!(!home.html.contains("At the venue"), "{}", home.html);
}

#[test]
fn an_unknown_zone_is_shown_as_utc() {
    let letter = letter(Kind::SeatConfirmed, &profile("Mars/Olympus_Mons"), &event());
    assert!(letter.text.contains("16:00 (UTC)"), "{}", letter.text);
}

#[test]
fn html_is_escaped_and_text_is_not() {
    let letter = letter(Kind::SeatConfirmed, &profile("UTC"), &event());
    assert!(letter.html.contains("Looms &amp; &lt;Engines&gt;"), "{}", letter.html);
    assert!(letter.text.contains("Looms & <Engines>"), "{}", letter.text);
    assert_eq!(letter.subject, "Your seat is confirmed: Looms & <Engines>");
}

#[test]
fn no_text_of_a_user_makes_a_new_line_or_header() {
    let mut event = event();
    event.title = "Ball\r\nBcc: everybody@example.org\n\nHello".to_owned();
    let letter = letter(Kind::SeatConfirmed, &profile("UTC"), &event);
    assert_eq!(letter.subject, "Your seat is confirmed: Ball Bcc: everybody@example.org Hello");
}

#[test]
fn the_organizers_reason_is_told_where_there_is_one() {
    let told = letter(Kind::EventCancelled, &profile("UTC"), &event());
    assert!(
        told.text.contains("Message from the organizer: The hall burned down"),
        "{}",
        told.text
    );

    let mut event = event();
    event.cancel_reason = None;
    let untold = letter(Kind::EventCancelled, &profile("UTC"), &event);
    assert!(!untold.text.contains("Message from the organizer"), "{}", untold.text);
}

#[test]
fn an_announcement_is_plain_text_whatever_it_holds() {
    let letter = letter(Kind::Announcement, &profile("UTC"), &event());
    assert_eq!(letter.subject, "Looms & <Engines>: Looms Bcc: everybody@example.org");
    assert!(
        letter
            .text
            .contains("Bring **two** looms & <script>alert(1)</script>\n\n<img src=x onerror=y>\n-- \nBob\n"),
        "{}",
        letter.text
    );
    assert!(
        letter.html.contains("Bring **two** looms &amp; &lt;script&gt;alert(1)&lt;&#x2f;script&gt;<br>\n<br>\n&lt;img src=x onerror=y&gt;<br>"),
        "{}",
        letter.html
    );
    for injected in ["<script", "<img", "onerror=\""] {
        assert!(!letter.html.contains(injected), "{}", letter.html);
    }
}

#[test]
fn a_link_carries_the_token_of_this_moments_address_behind_the_hash() {
    for (kind, page, purpose) in [
        (Kind::EmailVerification, "verification", Purpose::VerifyEmail),
        (Kind::PasswordReset, "password-reset", Purpose::ResetPassword),
    ] {
        let letter = letter(kind, &profile("Europe/Berlin"), &event());
        let address = format!("https://rollcall.example/{page}#");
        let (_, rest) = letter.text.split_once(&address).expect("it has the link");
        let text = rest.lines().next().expect("it ends");
        let token = Token::parse(text).expect("a token");
        assert_eq!(token.link, link());
        assert!(LinkKey::new(KEY).is_genuine(purpose, &token, "ada@example.org"));
        assert!(letter.html.contains(&format!("#{text}\"")), "{}", letter.html);
        assert!(
            letter.text.contains("expires on Friday, 3 July 2026, 18:00 (Europe/Berlin)"),
            "{}",
            letter.text
        );
    }
}

#[test]
fn who_has_a_seat_gets_a_calendar_entry() {
    let address = "https://rollcall.example/v1/events/00000000-0000-0000-0000-000000000002/calendar.ics";
    for kind in [
        Kind::SeatConfirmed,
        Kind::SeatPromoted,
        Kind::EventRescheduled,
        Kind::Reminder,
    ] {
        let letter = letter(kind, &profile("UTC"), &event());
        assert!(letter.text.contains(address), "{kind:?}: {}", letter.text);
        assert!(letter.html.contains("calendar.ics"), "{kind:?}: {}", letter.html);
    }
}

#[test]
fn a_rescheduled_event_is_told_with_both_times() {
    let mut event = event();
    let about = |event: &Event, previous| {
        let about = About {
            kind: Kind::EventRescheduled,
            mail_id: Uuid::from_u128(3),
            profile: &profile("Europe/Berlin"),
            registration: Some((event, Uuid::from_u128(4))),
            content: Content::Rescheduled(previous),
        };
        let letters = Letters::new("https://rollcall.example", LinkKey::new(KEY));
        letters.write(&about).expect("a letter")
    };
    let previous = event.starts_at;
    event.starts_at = bson::DateTime::from_millis(previous.timestamp_millis() + 60 * 60 * 1000);
    let letter = about(&event, previous);
    assert!(
        letter.text.contains("  Friday, 3 July 2026, 19:00 (Europe/Berlin)"),
        "{}",
        letter.text
    );
    assert!(
        letter
            .text
            .contains("Previous time: Friday, 3 July 2026, 18:00 (Europe/Berlin)"),
        "{}",
        letter.text
    );
}
