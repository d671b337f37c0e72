//! Renders e-mails from templates, in HTML and in plain text, in the recipient's time zone.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use contracts::NotificationKind;
use contracts::links::{Link, LinkKey, Purpose};
use contracts::notifications::NotificationKind as Kind;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use mongodb::bson;
use uuid::Uuid;

use crate::copies::{self, Event, Profile};

/// An e-mail that is ready to be sent. It contains personal data, so it deliberately does not implement `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct RenderedMail {
    /// Identical for every attempt to send one e-mail, so mail servers and clients can detect duplicates.
    pub message_id: Uuid,
    pub to_name: String,
    pub to_address: String,
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// The parsed templates of all e-mails.
pub struct Templates {
    templates: Environment<'static>,
    /// Base URL without a trailing slash.
    public_url: String,
    link_key: LinkKey,
}

/// The data from which an e-mail is rendered.
pub struct MailInput<'a> {
    pub kind: NotificationKind,
    pub mail_id: Uuid,
    pub profile: &'a Profile,
    /// The event and the id of the recipient's registration for it, if the e-mail concerns one.
    pub registration: Option<(&'a Event, Uuid)>,
    pub content: MailContent<'a>,
}

/// The part of an e-mail's content that only some kinds have.
pub enum MailContent<'a> {
    /// The kind needs no further content.
    Plain,
    /// The previous start of the event.
    Rescheduled(bson::DateTime),
    /// The organizer's announcement. The body is Markdown.
    Announcement { subject: &'a str, body: &'a str },
    /// The content of the token in the e-mail's link.
    Link(Link),
}

/// The reason why an e-mail could not be rendered. Each is a bug in this version, so a later version may render the
/// e-mail.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no template exists for e-mails of the kind {0:?}")]
    UnknownKind(NotificationKind),
    #[error("the template {name} could not be rendered")]
    Template {
        name: String,
        #[source]
        source: minijinja::Error,
    },
    #[error("the template {0} does not begin with a subject line")]
    MissingSubject(String),
    #[error("e-mails of the kind {0:?} contain no link with a token")]
    UnexpectedLink(NotificationKind),
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

impl Templates {
    /// Parses the templates.
    ///
    /// `public_url` is the base URL of all links, under which recipients reach the gateway. The gateway must have the same
    /// `link_key`.
    ///
    /// # Panics
    /// Panics if a template cannot be parsed. The templates are part of the program, and a test renders every e-mail.
    pub fn new(public_url: &str, link_key: LinkKey) -> Self {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_keep_trailing_newline(true);
        for (name, source) in TEMPLATES {
            templates
                .add_template(name, source)
                .unwrap_or_else(|error| panic!("the template {name} cannot be parsed: {error:#}"));
        }
        Self {
            templates,
            public_url: public_url.trim_end_matches('/').to_owned(),
            link_key,
        }
    }

    /// Renders an e-mail.
    pub fn render(&self, input: &MailInput<'_>) -> Result<RenderedMail, Error> {
        let name = template_of(input.kind).ok_or(Error::UnknownKind(input.kind))?;
        let zone = zone(&input.profile.time_zone);
        let home = &self.public_url;
        let event = input.registration.map(|(event, _)| {
            context! {
                title => one_line(&event.title),
                venue => one_line(&event.venue),
                starts => moment(event.starts_at(), zone),
                at_the_venue => at_the_venue(event, zone),
                cancel_reason => event.cancel_reason.as_deref().map(one_line),
            }
        });
        let content = self.content(input, zone)?;
        let to_name = one_line(&input.profile.full_name);
        let values = context! {
            name => to_name,
            event,
            content,
            links => context! {
                home,
                events => format!("{home}/v1/events"),
                event => input.registration.map(|(event, _)| format!("{home}/v1/events/{}", event.id())),
                calendar => input.registration.map(|(event, _)| format!("{home}/v1/events/{}/calendar.ics", event.id())),
                registration => input.registration.map(|(_, id)| format!("{home}/v1/registrations/{id}")),
            },
        };
        let (subject, text) = split_subject(name, self.render_template(&format!("{name}.txt"), &values)?)?;
        Ok(RenderedMail {
            message_id: input.mail_id,
            to_name,
            to_address: input.profile.email.clone(),
            subject,
            text,
            html: self.render_template(&format!("{name}.html"), &values)?,
        })
    }

    fn content(&self, input: &MailInput<'_>, zone: Tz) -> Result<Value, Error> {
        Ok(match input.content {
            MailContent::Plain => Value::UNDEFINED,
            MailContent::Rescheduled(previously) => context! { previously => moment(copies::moment(previously), zone) },
            MailContent::Announcement { subject, body } => {
                context! { subject => one_line(subject), lines => lines(body) }
            }
            MailContent::Link(link) => {
                let (purpose, page) = link_of(input.kind).ok_or(Error::UnexpectedLink(input.kind))?;
                let token = self.link_key.token(purpose, &link, &input.profile.email);
                context! {
                    // In the fragment, so the token does not appear in server logs and Referer headers.
                    link => format!("{}/{page}#{token}", self.public_url),
                    expires_at => moment(link.expires_at.to_utc(), zone),
                }
            }
        })
    }

    fn render_template(&self, name: &str, values: &minijinja::Value) -> Result<String, Error> {
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

/// Returns the purpose of the link in e-mails of this kind, and the page that it leads to.
fn link_of(kind: NotificationKind) -> Option<(Purpose, &'static str)> {
    match kind {
        Kind::EmailVerification => Some((Purpose::VerifyEmail, "verification")),
        Kind::PasswordReset => Some((Purpose::ResetPassword, "password-reset")),
        _ => None,
    }
}

/// Splits a rendered text template, which consists of `Subject: …`, an empty line and the text.
fn split_subject(name: &str, rendered: String) -> Result<(String, String), Error> {
    let parts = rendered
        .strip_prefix("Subject: ")
        .and_then(|rest| rest.split_once("\n\n"));
    let (subject, text) = parts.ok_or_else(|| Error::MissingSubject(name.to_owned()))?;
    Ok((subject.to_owned(), text.to_owned()))
}

/// Removes line breaks and control characters from a user's text, because it is put into headers and single lines.
fn one_line(text: &str) -> String {
    let words: Vec<_> = text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

/// Splits a user's text into lines and removes all control characters except tabs.
fn lines(text: &str) -> Vec<String> {
    let printable = |line: &str| line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
    text.trim().lines().map(printable).collect()
}

/// Parses the name of a time zone. Returns UTC for a zone that this version of the tz database does not know.
fn zone(name: &str) -> Tz {
    name.parse().unwrap_or(Tz::UTC)
}

fn moment(time: DateTime<Utc>, zone: Tz) -> String {
    let local = time.with_timezone(&zone);
    format!("{} ({})", local.format("%A, %-d %B %Y, %H:%M"), zone.name())
}

/// Returns the start in the venue's local time, if it differs from the reader's local time.
fn at_the_venue(event: &Event, reader: Tz) -> Option<String> {
    let venue = zone(&event.time_zone);
    let clock = |zone: Tz| event.starts_at().with_timezone(&zone).naive_local();
    (clock(venue) != clock(reader)).then(|| moment(event.starts_at(), venue))
}

#[cfg(test)]
mod tests;
