//! Whether a mail is still true and wanted when it is to be sent, by the copies of that moment.

use contracts::NotificationKind as Kind;
use contracts::links::Link;
use mongodb::bson::DateTime;

use super::attempt::Outcome;
use crate::copies::{Copies, Event, Place, Profile, Registration};
use crate::letter::{About, Content};
use crate::mail::Mail;
use crate::mail::queue::Missing;
use crate::mailing::Tell;

/// What the letter is about, or what becomes of the mail without one. `now` is the database's time.
pub(super) fn look<'a>(mail: &Mail, copies: &'a Copies, now: DateTime) -> Result<About<'a>, Outcome> {
    if copies.is_erased(mail.user()) {
        return failed("erased");
    }
    let link = mail.link();
    if link.is_some_and(|link| link.expires_at.as_micros() / 1_000 <= now.timestamp_millis()) {
        return failed("expired");
    }
    if copies.is_closed(mail.user()) {
        return match mail.is_to_many() {
            true => dropped("the account is closed"),
            false => failed("the account is closed"),
        };
    }
    let registration = mail.registration().and_then(|id| copies.registration(id));
    if mail.is_to_many() && !has_place(mail.kind, registration) {
        return dropped("the place was given up");
    }
    let new_enough = |profile: &&Profile| mail.profile_version.is_none_or(|version| profile.version >= version);
    let profile = copies
        .profile(mail.user())
        .filter(new_enough)
        .ok_or(Outcome::Missing(Missing::Profile))?;
    if let Some(reason) = unwanted(mail.kind, profile) {
        return dropped(reason);
    }
    let registration = match mail.event().zip(mail.registration()) {
        None => None,
        Some((event, registration)) => {
            let event = copies.event(event).ok_or(Outcome::Missing(Missing::Event))?;
            if let Some(reason) = overtaken(mail, event, now) {
                return dropped(reason);
            }
            Some((event, registration))
        }
    };
    Ok(About {
        kind: mail.kind,
        mail_id: mail.id(),
        profile,
        registration,
        content: content(mail, copies, link),
    })
}

fn failed<T>(reason: &str) -> Result<T, Outcome> {
    Err(Outcome::Failed(reason.to_owned()))
}

fn dropped<T>(reason: &'static str) -> Result<T, Outcome> {
    Err(Outcome::Dropped(reason))
}

fn has_place(kind: Kind, registration: Option<&Registration>) -> bool {
    registration.is_some_and(|registration| match registration.state {
        Place::Cancelled => false,
        Place::Waiting => kind == Kind::EventRescheduled,
        // Whoever is there needs no reminder.
        Place::Confirmed => kind != Kind::Reminder || registration.checked_in_at.is_none(),
    })
}

fn unwanted(kind: Kind, profile: &Profile) -> Option<&'static str> {
    match kind {
        Kind::Reminder if !profile.reminders => Some("reminders are not wanted"),
        Kind::Announcement if !profile.announcements => Some("announcements are not wanted"),
        Kind::EmailVerification if profile.email_verified => Some("the address is verified"),
        _ => None,
    }
}

/// Whether the event is not what the mail takes it for.
fn overtaken(mail: &Mail, event: &Event, now: DateTime) -> Option<&'static str> {
    if !mail.is_to_many() {
        return None;
    }
    if event.is_cancelled() {
        return Some("the event is cancelled");
    }
    match mail.starts_at {
        Some(starts_at) if starts_at != event.starts_at => Some("the event was rescheduled"),
        Some(starts_at) if starts_at <= now => Some("the event has begun"),
        _ => None,
    }
}

fn content<'a>(mail: &Mail, copies: &'a Copies, link: Option<Link>) -> Content<'a> {
    if let Some(link) = link {
        return Content::Link(link);
    }
    let tell = copies.mailing(mail.cause_id()).map(|mailing| mailing.tell());
    match (mail.kind, tell) {
        (Kind::Announcement, Some(Tell::Announcement { subject, body })) => Content::Announcement { subject, body },
        (Kind::EventRescheduled, Some(Tell::Rescheduled { previous_starts_at })) => {
            Content::Rescheduled(*previous_starts_at)
        }
        _ => Content::Plain,
    }
}
