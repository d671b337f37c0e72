//! Letters: what a mail says, in HTML and in text, in the recipient's time zone.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use contracts::NotificationKind;
use contracts::links::{Link, LinkKey, Purpose};
use contracts::notifications::NotificationKind as Kind;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use mongodb::bson;
use uuid::Uuid;

use crate::copies::{self, Event, Profile};

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
    link_key: LinkKey,
}

/// What a letter is about.
pub struct About<'a> {
    pub kind: NotificationKind,
    pub mail_id: Uuid,
    pub profile: &'a Profile,
    /// The event, and the registration for it, where it is about one.
    pub registration: Option<(&'a Event, Uuid)>,
    pub content: Content<'a>,
}

/// What a letter says beside that.
pub enum Content<'a> {
    /// Its kind says it all.
    Plain,
    /// The event was to begin at this time.
    Rescheduled(bson::DateTime),
    /// The organizer's words; the body is Markdown.
    Announcement { subject: &'a str, body: &'a str },
    /// What the token of its link says.
    Link(Link),
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
    #[error("a letter of this kind has no link: {0:?}")]
    NoLink(NotificationKind),
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
    "event_rescheduled.html",
    "event_rescheduled.txt",
    "reminder.html",
    "reminder.txt",
    "announcement.html",
    "announcement.txt",
    "email_verification.html",
    "email_verification.txt",
    "password_reset.html",
    "password_reset.txt",
];

impl Letters {
    /// `public_url` is where links lead: the gateway, as readers of the mail reach it. It has the same `link_key`.
    ///
    /// # Panics
    /// If a template can't be parsed: they are part of the program, and a test writes every letter.
    pub fn new(public_url: &str, link_key: LinkKey) -> Self {
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
            link_key,
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
                starts => moment(event.starts_at(), zone),
                at_the_venue => at_the_venue(event, zone),
                cancel_reason => event.cancel_reason.as_deref().map(one_line),
            }
        });
        let content = self.content(about, zone)?;
        let to_name = one_line(&about.profile.full_name);
        let values = context! {
            name => to_name,
            event,
            content,
            links => context! {
                home,
                events => format!("{home}/v1/events"),
                event => about.registration.map(|(event, _)| format!("{home}/v1/events/{}", event.id())),
                calendar => about.registration.map(|(event, _)| format!("{home}/v1/events/{}/calendar.ics", event.id())),
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

    fn content(&self, about: &About<'_>, zone: Tz) -> Result<Value, Error> {
        Ok(match about.content {
            Content::Plain => Value::UNDEFINED,
            Content::Rescheduled(previously) => context! { previously => moment(copies::moment(previously), zone) },
            Content::Announcement { subject, body } => context! { subject => one_line(subject), lines => lines(body) },
            Content::Link(link) => {
                let (purpose, page) = link_of(about.kind).ok_or(Error::NoLink(about.kind))?;
                let token = self.link_key.token(purpose, &link, &about.profile.email);
                context! {
                    // Behind the #, so that the token stays out of servers' logs and Referer headers.
                    link => format!("{}/{page}#{token}", self.public_url),
                    expires_at => moment(link.expires_at.to_utc(), zone),
                }
            }
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
        Kind::EventRescheduled => Some("event_rescheduled"),
        Kind::Reminder => Some("reminder"),
        Kind::Announcement => Some("announcement"),
        Kind::EmailVerification => Some("email_verification"),
        Kind::PasswordReset => Some("password_reset"),
        Kind::Unknown => None,
    }
}

/// What the link of a letter of this kind is good for, and the page that it leads to.
fn link_of(kind: NotificationKind) -> Option<(Purpose, &'static str)> {
    match kind {
        Kind::EmailVerification => Some((Purpose::VerifyEmail, "verification")),
        Kind::PasswordReset => Some((Purpose::ResetPassword, "password-reset")),
        _ => None,
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

/// Texts of users that may have several lines, without anything else that is unprintable.
fn lines(text: &str) -> Vec<String> {
    let printable = |line: &str| line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
    text.trim().lines().map(printable).collect()
}

/// A zone that is unknown here, which a newer tz database may have brought, is shown as UTC.
fn zone(name: &str) -> Tz {
    name.parse().unwrap_or(Tz::UTC)
}

fn moment(time: DateTime<Utc>, zone: Tz) -> String {
    let local = time.with_timezone(&zone);
    format!("{} ({})", local.format("%A, %-d %B %Y, %H:%M"), zone.name())
}

/// The same moment as the clocks at the venue show it, where they differ from the reader's.
fn at_the_venue(event: &Event, reader: Tz) -> Option<String> {
    let venue = zone(&event.time_zone);
    let clock = |zone: Tz| event.starts_at().with_timezone(&zone).naive_local();
    (clock(venue) != clock(reader)).then(|| moment(event.starts_at(), venue))
}

#[cfg(test)]
mod tests;
