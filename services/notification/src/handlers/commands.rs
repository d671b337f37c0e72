use contracts::replies::CommandAccepted;
use contracts::{ContinueMailing, NotificationCommand, NotificationKind};
use messaging::{Failure, Handler, Received, Unit};
use mongo::Mongo;

use crate::cause::StoredCause;
use crate::copies::{EventSummary, RegistrationState};
use crate::mail::{Mail, queue};
use crate::mail_queue::MailQueues;
use crate::mailing;
use crate::reminders::{Seat, schedule_reminder};

/// Handles `notifications.commands`: requests of the gateway, and commands that this service sends to itself.
pub(crate) struct FollowCommands(pub(crate) MailQueues);

type Chunk<'a> = (&'a Received<NotificationCommand>, &'a ContinueMailing);

impl Handler<Mongo> for FollowCommands {
    type Message = NotificationCommand;

    async fn handle(
        &mut self,
        unit: &mut Unit<Mongo>,
        messages: &[&Received<NotificationCommand>],
    ) -> Result<(), Failure> {
        let mut mails = Vec::new();
        let mut chunks = Vec::new();
        for message in messages {
            let cause = || StoredCause::of(message);
            match &message.body {
                NotificationCommand::SendReminder(command) => mails.push(Mail::reminder(cause(), command)),
                NotificationCommand::SendVerificationMail(command) => mails.push(
                    Mail::new(cause(), NotificationKind::EmailVerification, command.user_id)
                        .with_link(command.nonce, command.expires_at)
                        .require_profile_version(message.envelope.expected_version),
                ),
                NotificationCommand::SendPasswordResetMail(command) => mails.push(
                    Mail::new(cause(), NotificationKind::PasswordReset, command.user_id)
                        .with_link(command.nonce, command.expires_at)
                        .require_profile_version(message.envelope.expected_version),
                ),
                NotificationCommand::ContinueMailing(chunk) => chunks.push((*message, chunk)),
            }
        }
        mails.extend(process_chunks(unit, &chunks).await?);
        queue::enqueue(unit, &self.0, &mails).await?;
        for message in messages {
            unit.accept(message, accepted(message))?;
        }
        Ok(())
    }
}

/// Enqueues the e-mails for the next chunks of mailings and publishes the commands for the chunks after them.
async fn process_chunks(unit: &mut Unit<Mongo>, chunks: &[Chunk<'_>]) -> Result<Vec<Mail>, Failure> {
    if chunks.is_empty() {
        return Ok(Vec::new());
    }
    let causes: Vec<_> = chunks.iter().map(|(_, chunk)| chunk.cause_id).collect();
    let events: Vec<_> = chunks.iter().map(|(_, chunk)| chunk.event_id).collect();
    let mailings = mailing::find(unit.tx(), &causes).await?;
    let summaries = EventSummary::load(unit.tx(), &events).await?;
    let size = mailing::chunk_size(chunks.len());
    let mut mails = Vec::new();
    for (message, chunk) in chunks {
        let ContinueMailing {
            cause_id,
            event_id,
            after,
        } = chunk;
        let Some(mailing) = mailings.get(cause_id) else {
            tracing::error!(mailing = %cause_id, "mailing {cause_id} not found; skipping its next chunk");
            continue;
        };
        let cause = message.cause();
        let starts_at = summaries
            .get(event_id)
            .and_then(EventSummary::upcoming_start)
            .filter(|_| mailing.schedules_reminders());
        let registrations = mailing::active_registrations(unit.tx(), *event_id, *after, size).await?;
        for found in &registrations {
            let (registration, user) = (found.id(), found.user());
            mails.extend(mailing.mail_for(user, registration, found.placed_at, found.seated_at));
            if let Some(starts_at) = starts_at
                && found.state == RegistrationState::Confirmed
            {
                let seat = Seat {
                    registration,
                    user,
                    event: *event_id,
                };
                schedule_reminder(unit, &cause, &seat, starts_at)?;
            }
        }
        if let Some(last) = registrations.last().filter(|_| registrations.len() == size) {
            mailing::continue_after(unit, &cause, mailing, Some(last.id()))?;
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
