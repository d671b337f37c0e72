use contracts::replies::CommandAccepted;
use contracts::{ContinueMailing, NotificationCommand, NotificationKind, SendPasswordResetMail, SendVerificationMail};
use messaging::{Failure, Handler, Received, Unit};
use mongo::Mongo;

use crate::cause::StoredCause;
use crate::copies::{Head, Place};
use crate::lane::Lanes;
use crate::mail::{Mail, queue};
use crate::mailing;
use crate::reminders::{Seat, remind};

/// `notifications.commands`: mails that the gateway asks for, and what this service said to itself.
pub(crate) struct FollowCommands(pub(crate) Lanes);

type Piece<'a> = (&'a Received<NotificationCommand>, &'a ContinueMailing);

impl Handler<Mongo> for FollowCommands {
    type Message = NotificationCommand;

    async fn handle(
        &mut self,
        unit: &mut Unit<Mongo>,
        messages: &[&Received<NotificationCommand>],
    ) -> Result<(), Failure> {
        let mut mails = Vec::new();
        let mut pieces = Vec::new();
        for message in messages {
            let cause = || StoredCause::of(message);
            match &message.body {
                NotificationCommand::SendReminder(asked) => mails.push(Mail::reminder(cause(), asked)),
                NotificationCommand::SendVerificationMail(SendVerificationMail {
                    user_id,
                    nonce,
                    expires_at,
                }) => mails.push(
                    Mail::because_of(cause(), NotificationKind::EmailVerification, *user_id)
                        .with_link(*nonce, *expires_at)
                        .not_before(message.envelope.expected_version),
                ),
                NotificationCommand::SendPasswordResetMail(SendPasswordResetMail {
                    user_id,
                    nonce,
                    expires_at,
                }) => mails.push(
                    Mail::because_of(cause(), NotificationKind::PasswordReset, *user_id)
                        .with_link(*nonce, *expires_at)
                        .not_before(message.envelope.expected_version),
                ),
                NotificationCommand::ContinueMailing(piece) => pieces.push((*message, piece)),
            }
        }
        mails.extend(work_off(unit, &pieces).await?);
        queue::put(unit, &self.0, &mails).await?;
        for message in messages {
            unit.accept(message, accepted(message))?;
        }
        Ok(())
    }
}

/// Does the next pieces of mailings, and has those after them done.
async fn work_off(unit: &mut Unit<Mongo>, pieces: &[Piece<'_>]) -> Result<Vec<Mail>, Failure> {
    if pieces.is_empty() {
        return Ok(Vec::new());
    }
    let causes: Vec<_> = pieces.iter().map(|(_, piece)| piece.cause_id).collect();
    let events: Vec<_> = pieces.iter().map(|(_, piece)| piece.event_id).collect();
    let mailings = mailing::of(unit.tx(), &causes).await?;
    let heads = Head::load(unit.tx(), &events).await?;
    let size = mailing::piece(pieces.len());
    let mut mails = Vec::new();
    for (message, piece) in pieces {
        let ContinueMailing {
            cause_id,
            event_id,
            after,
        } = piece;
        let Some(mailing) = mailings.get(cause_id) else {
            tracing::error!(mailing = %cause_id, "there is no mailing {cause_id} to go on with");
            continue;
        };
        let cause = message.cause();
        let starts_at = heads
            .get(event_id)
            .and_then(Head::coming_start)
            .filter(|_| mailing.reminds());
        let places = mailing::places(unit.tx(), *event_id, *after, size).await?;
        for place in &places {
            let (registration, user) = (place.id(), place.user());
            mails.extend(mailing.mail(user, registration, place.placed_at, place.seated_at));
            if let Some(starts_at) = starts_at
                && place.state == Place::Confirmed
            {
                let seat = Seat {
                    registration,
                    user,
                    event: *event_id,
                };
                remind(unit, &cause, &seat, starts_at)?;
            }
        }
        if let Some(last) = places.last().filter(|_| places.len() == size) {
            mailing::go_on(unit, &cause, mailing, Some(last.id()))?;
        }
    }
    Ok(mails)
}

fn accepted(message: &Received<NotificationCommand>) -> CommandAccepted {
    CommandAccepted {
        command_id: message.envelope.id,
        version: 0,
        effects: Vec::new(),
        result: None,
    }
}
