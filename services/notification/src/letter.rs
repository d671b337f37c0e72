//! Letters: what a mail says, in HTML and in text, in the recipient's time zone.

use chrono_tz::Tz;
use contracts::NotificationKind;
use contracts::notifications::NotificationKind as Kind;
use minijinja::{Environment, UndefinedBehavior, context};
use uuid::Uuid;

use crate::copies::{Event, Profile};

/// A mail, ready for a mail server. Holds personal data: it has no `Debug` on purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// The same for every attempt at one mail: a mail server or reader that sees it twice can tell.
    pub message_id: Uuid,
    pub to_name: String,
    pub to_address: String,
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// The templates, parsed once.
pub struct Letters {
    templates: Environment<'static>,
    /// Without a slash at the end.
    public_url: String,
}

/// What a letter is about.
pub struct About<'a> {
    pub kind: NotificationKind,
    pub mail_id: Uuid,
    pub profile: &'a Profile,
    /// The event, and the registration for it; a welcome has none.
    pub registration: Option<(&'a Event, Uuid)>,
}

/// Why a letter was not written: a fault of a template, so waiting for the next version may help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no letter of this kind: {0:?}")]
    NoSuchKind(NotificationKind),
    #[error("the template {name} failed")]
    Template {
        name: String,
        #[source]
        source: minijinja::Error,
    },
    #[error("the template {0} does not begin with a subject")]
    NoSubject(String),
}

macro_rules! templates {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../templates/", $name)))),+]
    };
}

const TEMPLATES: &[(&str, &str)] = templates![
    "layout.html",
    "event.html",
    "event.txt",
    "foot.txt",
    "welcome.html",
    "welcome.txt",
    "seat_confirmed.html",
    "seat_confirmed.txt",
    "seat_waitlisted.html",
    "seat_waitlisted.txt",
    "seat_promoted.html",
    "seat_promoted.txt",
    "registration_cancelled.html",
    "registration_cancelled.txt",
    "event_cancelled.html",
    "event_cancelled.txt",
];

impl Letters {
    /// `public_url` is where links lead: the gateway, as readers of the mail reach it.
    ///
    /// # Panics
    /// If a template can't be parsed: they are part of the program, and a test writes every letter.
    pub fn new(public_url: &str) -> Self {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_keep_trailing_newline(true);
        for (name, source) in TEMPLATES {
            templates
                .add_template(name, source)
                .unwrap_or_else(|error| panic!("the template {name} is broken: {error:#}"));
        }
        Self {
            templates,
            public_url: public_url.trim_end_matches('/').to_owned(),
        }
    }

    pub fn write(&self, about: &About<'_>) -> Result<Letter, Error> {
        let name = template_of(about.kind).ok_or(Error::NoSuchKind(about.kind))?;
        let zone = zone(&about.profile.time_zone);
        let home = &self.public_url;
        let event = about.registration.map(|(event, _)| {
            context! {
                title => one_line(&event.title),
                venue => one_line(&event.venue),
                starts => moment(event, zone),
                at_the_venue => at_the_venue(event, zone),
                cancel_reason => event.cancel_reason.as_deref().map(one_line),
            }
        });
        let to_name = one_line(&about.profile.full_name);
        let values = context! {
            name => to_name,
            event,
            links => context! {
                home,
                events => format!("{home}/v1/events"),
                event => about.registration.map(|(event, _)| format!("{home}/v1/events/{}", event.id())),
                registration => about.registration.map(|(_, id)| format!("{home}/v1/registrations/{id}")),
            },
        };
        let (subject, text) = split_subject(name, self.render(&format!("{name}.txt"), &values)?)?;
        Ok(Letter {
            message_id: about.mail_id,
            to_name,
            to_address: about.profile.email.clone(),
            subject,
            text,
            html: self.render(&format!("{name}.html"), &values)?,
        })
    }

    fn render(&self, name: &str, values: &minijinja::Value) -> Result<String, Error> {
        let rendered = self
            .templates
            .get_template(name)
            .and_then(|template| template.render(values));
        rendered.map_err(|source| Error::Template {
            name: name.to_owned(),
            source,
        })
    }
}

fn template_of(kind: NotificationKind) -> Option<&'static str> {
    match kind {
        Kind::Welcome => Some("welcome"),
        Kind::SeatConfirmed => Some("seat_confirmed"),
        Kind::SeatWaitlisted => Some("seat_waitlisted"),
        Kind::SeatPromoted => Some("seat_promoted"),
        Kind::RegistrationCancelled => Some("registration_cancelled"),
        Kind::EventCancelled => Some("event_cancelled"),
        Kind::Unknown => None,
    }
}

/// A text template begins like a mail does: `Subject: …`, an empty line, the text.
fn split_subject(name: &str, rendered: String) -> Result<(String, String), Error> {
    let parts = rendered
        .strip_prefix("Subject: ")
        .and_then(|rest| rest.split_once("\n\n"));
    let (subject, text) = parts.ok_or_else(|| Error::NoSubject(name.to_owned()))?;
    Ok((subject.to_owned(), text.to_owned()))
}

/// Texts of users go into headers and single lines: no line breaks, nothing unprintable.
fn one_line(text: &str) -> String {
    let words: Vec<_> = text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

/// A zone that is unknown here, which a newer tz database may have brought, is shown as UTC.
fn zone(name: &str) -> Tz {
    name.parse().unwrap_or(Tz::UTC)
}

fn moment(event: &Event, zone: Tz) -> String {
    let local = event.starts_at().with_timezone(&zone);
    format!("{} ({})", local.format("%A, %-d %B %Y, %H:%M"), zone.name())
}

/// The same moment as the clocks at the venue show it, where they differ from the reader's.
fn at_the_venue(event: &Event, reader: Tz) -> Option<String> {
    let venue = zone(&event.time_zone);
    let clock = |zone: Tz| event.starts_at().with_timezone(&zone).naive_local();
    (clock(venue) != clock(reader)).then(|| moment(event, venue))
}

#[cfg(test)]
mod tests {
    use contracts::Timestamp;
    use mongodb::bson;

    use super::*;

    const KINDS: [NotificationKind; 6] = [
        Kind::Welcome,
        Kind::SeatConfirmed,
        Kind::SeatWaitlisted,
        Kind::SeatPromoted,
        Kind::RegistrationCancelled,
        Kind::EventCancelled,
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
        }
    }

    fn letter(kind: NotificationKind, profile: &Profile, event: &Event) -> Letter {
        let about = About {
            kind,
            mail_id: Uuid::from_u128(3),
            profile,
            registration: (kind != Kind::Welcome).then_some((event, Uuid::from_u128(4))),
        };
        Letters::new("https://rollcall.example/")
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
                letter.text.contains("https://rollcall.example/v1/events"),
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
                .contains("at the venue: Friday, 3 July 2026, 17:00 (Europe/London)"),
            "{}",
            abroad.text
        );

        let home = letter(Kind::SeatConfirmed, &profile("Europe/London"), &event());
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
        let letter = letter(Kind::SeatConfirmed, &profile("Mars/Olympus_Mons"), &event());
        assert!(letter.text.contains("16:00 (UTC)"), "{}", letter.text);
    }

    #[test]
    fn html_is_escaped_and_text_is_not() {
        let letter = letter(Kind::SeatConfirmed, &profile("UTC"), &event());
        assert!(letter.html.contains("Looms &amp; &lt;Engines&gt;"), "{}", letter.html);
        assert!(letter.text.contains("Looms & <Engines>"), "{}", letter.text);
        assert_eq!(letter.subject, "You have a seat: Looms & <Engines>");
    }

    #[test]
    fn no_text_of_a_user_makes_a_new_line_or_header() {
        let mut event = event();
        event.title = "Ball\r\nBcc: everybody@example.org\n\nHello".to_owned();
        let letter = letter(Kind::SeatConfirmed, &profile("UTC"), &event);
        assert_eq!(letter.subject, "You have a seat: Ball Bcc: everybody@example.org Hello");
    }

    #[test]
    fn the_organizers_reason_is_told_where_there_is_one() {
        let told = letter(Kind::EventCancelled, &profile("UTC"), &event());
        assert!(
            told.text.contains("The organizer writes: The hall burned down"),
            "{}",
            told.text
        );

        let mut event = event();
        event.cancel_reason = None;
        let untold = letter(Kind::EventCancelled, &profile("UTC"), &event);
        assert!(!untold.text.contains("The organizer writes"), "{}", untold.text);
    }
}
