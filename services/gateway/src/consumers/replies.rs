use std::collections::HashMap;

use contracts::links::{Link, Purpose};
use contracts::{CommandAccepted, CommandFailed, CommandRejected, FieldError, Rejection, Reply, RoleGranted, topics};
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;
use uuid::Uuid;

use super::{failed, wake};
use crate::links::{link, mail};
use crate::operations::Wakes;
use crate::roles::Role;
use crate::security::fact;
use crate::store::operations::{Completion, Effect, Kind, Outcome, complete, resources};
use crate::store::{accounts, links};
use crate::text::storable;

/// What the read models are made of: an effect on any other topic can't be waited for here.
const READ: [&contracts::Topic; 4] = [
    &topics::USERS,
    &topics::USERS_PROFILES,
    &topics::EVENTS,
    &topics::REGISTRATIONS,
];

/// Operations that have pending credentials.
const SIGN_UPS: [Kind; 3] = [Kind::CreateUser, Kind::BootstrapAdmin, Kind::CreateAdmin];

/// Completes operations. A sign-up's reply activates its credentials, or deletes them; new addresses are mailed a link.
pub struct Replies {
    wakes: Wakes,
}

impl Replies {
    pub fn new(wakes: Wakes) -> Self {
        Self { wakes }
    }
}

impl Handler<Postgres> for Replies {
    type Message = Reply;

    async fn handle(&mut self, unit: &mut Unit<Postgres>, messages: &[&Received<Reply>]) -> Result<(), Failure> {
        // The first one counts: an operation has one outcome.
        let mut completions: HashMap<Uuid, Completion> = HashMap::new();
        for message in messages {
            let (command, outcome) = outcome(&message.body, |topic| unit.publisher().topic_name(topic));
            // What a command led to further on is not this operation's answer.
            if command == message.envelope.key {
                completions
                    .entry(command)
                    .or_insert(Completion { id: command, outcome });
            }
        }
        let completions: Vec<Completion> = completions.into_values().collect();
        let completed = complete(unit.tx(), &completions).await.map_err(failed)?;
        let accepted = |id: &Uuid| {
            let completion = completions.iter().find(|completion| completion.id == *id);
            completion.is_some_and(|completion| matches!(completion.outcome, Outcome::Accepted { .. }))
        };
        let done = |wanted: &[Kind], outcome: bool| -> Vec<Uuid> {
            let done = completed
                .iter()
                .filter(|(id, kind)| wanted.contains(kind) && accepted(id) == outcome);
            done.map(|(id, _)| *id).collect()
        };
        let refused = done(&SIGN_UPS, false);
        if !refused.is_empty() {
            accounts::discard(unit.tx(), &refused).await.map_err(failed)?;
        }
        for id in done(&[Kind::BootstrapAdmin, Kind::CreateAdmin], false) {
            tracing::error!(operation = %id, "an admin was refused: the operation says why");
        }
        let accepted_sign_ups = done(&SIGN_UPS, true);
        let mut users = Vec::new();
        if !accepted_sign_ups.is_empty() {
            users = accounts::activate(unit.tx(), &accepted_sign_ups)
                .await
                .map_err(failed)?;
        }
        // The address of a new account, and the new address of an old one.
        users.extend(
            resources(unit.tx(), &done(&[Kind::ChangeEmail], true))
                .await
                .map_err(failed)?,
        );
        let kind = |operation: Uuid| completed.iter().find(|(id, _)| *id == operation).map(|(_, kind)| *kind);
        let mails = users.into_iter().map(|(operation, user)| {
            // Who has no password sets one, which shows the address to be right as well.
            let purpose = match kind(operation) {
                Some(Kind::CreateAdmin) => Purpose::ResetPassword,
                _ => Purpose::VerifyEmail,
            };
            (operation, purpose, link(purpose, user))
        });
        let mails: Vec<(Uuid, Purpose, Link)> = mails.collect();
        if !mails.is_empty() {
            let stored: Vec<(Purpose, Link)> = mails.iter().map(|(_, purpose, link)| (*purpose, *link)).collect();
            links::add(unit.tx(), &stored).await.map_err(failed)?;
        }
        for (operation, purpose, link) in mails {
            let reply = messages.iter().find(|message| message.envelope.key == operation);
            let reply = reply.expect("one of these replies completed it");
            let cause = reply.cause();
            if matches!(kind(operation), Some(Kind::BootstrapAdmin | Kind::CreateAdmin)) {
                let granted = RoleGranted {
                    user_id: link.user_id,
                    role: Role::Admin.into(),
                    granted_by: None,
                };
                unit.publish(&cause, fact(Some(link.user_id), granted))?;
            }
            // To the address that this made, however old the profile is that the notification service has.
            let version = profile_version(&reply.body, link.user_id);
            unit.publish(&cause, mail(purpose, &link).expected_version(version))?;
        }
        wake(&self.wakes, messages);
        Ok(())
    }
}

/// Of the profile that the command made.
fn profile_version(reply: &Reply, user: Uuid) -> Option<i64> {
    let Reply::CommandAccepted(accepted) = reply else {
        return None;
    };
    let of_profile = |effect: &&contracts::Effect| effect.topic == topics::USERS_PROFILES.name && effect.key == user;
    accepted.effects.iter().find(of_profile).map(|effect| effect.sequence)
}

/// The command that is answered, and how.
fn outcome(reply: &Reply, topic_name: impl Fn(&contracts::Topic) -> String) -> (Uuid, Outcome) {
    match reply {
        Reply::CommandAccepted(CommandAccepted {
            command_id,
            version: _,
            effects,
            result,
        }) => {
            let effects = effects
                .iter()
                .filter_map(|effect| {
                    let topic = READ.iter().find(|topic| topic.name == effect.topic)?;
                    Some(Effect {
                        topic: topic_name(topic),
                        key: effect.key,
                        sequence: effect.sequence,
                    })
                })
                .collect();
            let result = result.as_deref().map(storable);
            (*command_id, Outcome::Accepted { effects, result })
        }
        Reply::CommandRejected(CommandRejected {
            command_id,
            code,
            detail,
            errors,
        }) => {
            let errors = errors.iter().map(|FieldError { field, code, message }| FieldError {
                field: storable(field),
                code: storable(code),
                message: storable(message),
            });
            let rejection = Rejection::new(storable(code), storable(detail)).with_errors(errors.collect());
            (*command_id, Outcome::Rejected(rejection))
        }
        Reply::CommandFailed(CommandFailed {
            command_id,
            code,
            detail,
        }) => {
            let rejection = Rejection::new(storable(code), storable(detail));
            (*command_id, Outcome::Failed(rejection))
        }
    }
}
