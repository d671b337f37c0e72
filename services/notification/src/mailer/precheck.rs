//! Checks, right before an e-mail is sent, that it is still correct and wanted according to the current copies.

use contracts::NotificationKind as Kind;
use contracts::links::Link;
use mongodb::bson::DateTime;

use super::attempt::Outcome;
use crate::copies::{Copies, Event, Profile, Registration, RegistrationState};
use crate::mail::Mail;
use crate::mail::queue::Missing;
use crate::mailing::MailingContent;
use crate::templates::{MailContent, MailInput};

/// Checks an e-mail and returns the input for its templates. `now` is the database's time.
///
/// # Errors
/// Returns the outcome of the e-mail if it cannot or must not be sent.
pub(super) fn check<'a>(mail: &Mail, copies: &'a Copies, now: DateTime) -> Result<MailInput<'a>, Outcome> {
    if copies.is_erased(mail.user()) {
        return failed("erased");
    }
    let link = mail.link();
    if link.is_some_and(|link| link.expires_at.as_micros() / 1_000 <= now.timestamp_millis()) {
        return failed("expired");
    }
    if copies.is_closed(mail.user()) {
        return if mail.is_broadcast() {
            dropped("the account is closed")
        } else {
            failed("the account is closed")
        };
    }
    let registration = mail.registration().and_then(|id| copies.registration(id));
    if mail.is_broadcast() && !is_recipient(mail.kind, registration) {
        return dropped("the registration no longer qualifies for this e-mail");
    }
    let new_enough = |profile: &&Profile| mail.profile_version.is_none_or(|version| profile.version >= version);
    let profile = copies
        .profile(mail.user())
        .filter(new_enough)
        .ok_or(Outcome::Missing(Missing::Profile))?;
    if let Some(reason) = opt_out_reason(mail.kind, profile) {
        return dropped(reason);
    }
    let registration = match mail.event().zip(mail.registration()) {
        None => None,
        Some((event, registration)) => {
            let event = copies.event(event).ok_or(Outcome::Missing(Missing::Event))?;
            if let Some(reason) = outdated_reason(mail, event, now) {
                return dropped(reason);
            }
            Some((event, registration))
        }
    };
    Ok(MailInput {
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

/// Returns `true` if an e-mail of this kind is meant for the holder of this registration.
fn is_recipient(kind: Kind, registration: Option<&Registration>) -> bool {
    registration.is_some_and(|registration| match registration.state {
        RegistrationState::Cancelled => false,
        RegistrationState::Waiting => kind == Kind::EventRescheduled,
        // An attendee who has checked in needs no reminder.
        RegistrationState::Confirmed => kind != Kind::Reminder || registration.checked_in_at.is_none(),
    })
}

/// Returns the reason why the user does not want or need an e-mail of this kind, if there is one.
fn opt_out_reason(kind: Kind, profile: &Profile) -> Option<&'static str> {
    match kind {
        Kind::Reminder if !profile.reminders => Some("reminders are turned off"),
        Kind::Announcement if !profile.announcements => Some("announcements are turned off"),
        Kind::EmailVerification if profile.email_verified => Some("the e-mail address is already verified"),
        _ => None,
    }
}

/// Returns the reason why the e-mail does not match the current state of the event, if there is one.
fn outdated_reason(mail: &Mail, event: &Event, now: DateTime) -> Option<&'static str> {
    if !mail.is_broadcast() {
        return None;
    }
    if event.is_cancelled() {
        return Some("the event is cancelled");
    }
    match mail.starts_at {
        Some(starts_at) if starts_at != event.starts_at => Some("the event was rescheduled"),
        Some(starts_at) if starts_at <= now => Some("the event has started"),
        _ => None,
    }
}

fn content<'a>(mail: &Mail, copies: &'a Copies, link: Option<Link>) -> MailContent<'a> {
    if let Some(link) = link {
        return MailContent::Link(link);
    }
    let mailing = copies.mailing(mail.cause_id()).map(|mailing| mailing.content());
    match (mail.kind, mailing) {
        (Kind::Announcement, Some(MailingContent::Announcement { subject, body })) => {
            MailContent::Announcement { subject, body }
        }
        (Kind::EventRescheduled, Some(MailingContent::Rescheduled { previous_starts_at })) => {
            MailContent::Rescheduled(*previous_starts_at)
        }
        _ => MailContent::Plain,
    }
}
