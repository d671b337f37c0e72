use std::collections::HashMap;
use std::collections::hash_map::Entry;

use contracts::links::{Link, Purpose};
use contracts::{CommandAccepted, CommandFailed, CommandRejected, FieldError, Rejection, Reply, RoleGranted, topics};
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;
use uuid::Uuid;

use super::{failed, notify_waiters};
use crate::links::{link, mail};
use crate::operations::OperationNotifier;
use crate::roles::Role;
use crate::security::security_fact;
use crate::store::operations::{Completion, Effect, Kind, Outcome, complete, resources};
use crate::store::{accounts, links};
use crate::text::storable;

/// Topics of the read models. An operation does not wait for an effect on any other topic, because no read model here
/// shows it.
const READ: [&contracts::Topic; 4] = [
    &topics::USERS,
    &topics::USERS_PROFILES,
    &topics::EVENTS,
    &topics::REGISTRATIONS,
];

/// Operations that have pending credentials.
const SIGN_UPS: [Kind; 3] = [Kind::CreateUser, Kind::BootstrapAdmin, Kind::CreateAdmin];

/// Sign-ups whose user becomes an admin.
const ADMIN_SIGN_UPS: [Kind; 2] = [Kind::BootstrapAdmin, Kind::CreateAdmin];

/// Completes operations. The reply to a sign-up activates its credentials or deletes them. A user with a new e-mail
/// address is sent a link.
pub struct Replies(pub(crate) OperationNotifier);

/// An operation that `reply` completed.
struct Completed<'a> {
    id: Uuid,
    kind: Kind,
    reply: &'a Received<Reply>,
}

/// A link for the user of a completed operation.
struct NewLink<'a> {
    operation: &'a Completed<'a>,
    purpose: Purpose,
    link: Link,
}

impl Handler<Postgres> for Replies {
    type Message = Reply;

    async fn handle(&mut self, unit: &mut Unit<Postgres>, messages: &[&Received<Reply>]) -> Result<(), Failure> {
        let completed = complete_operations(unit, messages).await?;
        delete_rejected_credentials(unit, &completed).await?;
        let mut users = activate_accepted_credentials(unit, &completed).await?;
        publish_admin_roles(unit, &users)?;
        users.extend(users_with_changed_email(unit, &completed).await?);
        let links = store_links(unit, users).await?;
        publish_mails(unit, &links)?;
        notify_waiters(&self.0, unit, messages);
        Ok(())
    }
}

impl Completed<'_> {
    fn is_accepted(&self) -> bool {
        matches!(self.reply.body, Reply::CommandAccepted(_))
    }
}

/// Completes the pending ones of the operations that these replies are for.
async fn complete_operations<'a>(
    unit: &mut Unit<Postgres>,
    messages: &[&'a Received<Reply>],
) -> Result<Vec<Completed<'a>>, Failure> {
    let (completions, replies) = decode(messages, |topic| unit.publisher().topic_name(topic));
    let completed = complete(unit.tx(), &completions).await.map_err(failed)?;
    let completed = completed.into_iter().map(|(id, kind)| {
        let reply = replies[&id];
        Completed { id, kind, reply }
    });
    Ok(completed.collect())
}

/// Returns one completion for each operation, and the reply that it comes from.
///
/// The first reply of an operation counts, because an operation has one outcome.
fn decode<'a>(
    messages: &[&'a Received<Reply>],
    topic_name: impl Fn(&contracts::Topic) -> String,
) -> (Vec<Completion>, HashMap<Uuid, &'a Received<Reply>>) {
    let mut completions = Vec::new();
    let mut replies = HashMap::new();
    for message in messages {
        let (command, outcome) = outcome(&message.body, &topic_name);
        // A later command of the same operation has its own id, and its reply does not complete the operation.
        if command != message.envelope.key {
            continue;
        }
        if let Entry::Vacant(entry) = replies.entry(command) {
            entry.insert(*message);
            completions.push(Completion { id: command, outcome });
        }
    }
    (completions, replies)
}

/// Deletes the pending credentials of the sign-ups that were rejected or failed.
async fn delete_rejected_credentials(unit: &mut Unit<Postgres>, completed: &[Completed<'_>]) -> Result<(), Failure> {
    let sign_ups = rejected(completed, &SIGN_UPS);
    if !sign_ups.is_empty() {
        accounts::delete_pending(unit.tx(), &sign_ups).await.map_err(failed)?;
    }
    for id in rejected(completed, &ADMIN_SIGN_UPS) {
        tracing::error!(operation = %id, "the sign-up of an admin was rejected; operation {id} contains the reason");
    }
    Ok(())
}

/// Activates the credentials of the accepted sign-ups. Returns each sign-up with its user.
async fn activate_accepted_credentials<'a>(
    unit: &mut Unit<Postgres>,
    completed: &'a [Completed<'a>],
) -> Result<Vec<(&'a Completed<'a>, Uuid)>, Failure> {
    let sign_ups = accepted(completed, &SIGN_UPS);
    if sign_ups.is_empty() {
        return Ok(Vec::new());
    }
    let activated = accounts::activate(unit.tx(), &sign_ups).await.map_err(failed)?;
    Ok(by_operation(completed, activated))
}

/// Publishes the role that the pending credentials of an admin were written with.
fn publish_admin_roles(unit: &mut Unit<Postgres>, users: &[(&Completed<'_>, Uuid)]) -> Result<(), Failure> {
    for (operation, user_id) in users {
        if ADMIN_SIGN_UPS.contains(&operation.kind) {
            let granted = RoleGranted {
                user_id: *user_id,
                role: Role::Admin.into(),
                granted_by: None,
            };
            unit.publish(&operation.reply.cause(), security_fact(Some(*user_id), granted))?;
        }
    }
    Ok(())
}

/// Returns the accepted operations that changed an e-mail address, each with its user.
async fn users_with_changed_email<'a>(
    unit: &mut Unit<Postgres>,
    completed: &'a [Completed<'a>],
) -> Result<Vec<(&'a Completed<'a>, Uuid)>, Failure> {
    let changed = accepted(completed, &[Kind::ChangeEmail]);
    let users = resources(unit.tx(), &changed).await.map_err(failed)?;
    Ok(by_operation(completed, users))
}

/// Creates a link for each user and stores its nonce.
async fn store_links<'a>(
    unit: &mut Unit<Postgres>,
    users: Vec<(&'a Completed<'a>, Uuid)>,
) -> Result<Vec<NewLink<'a>>, Failure> {
    let new = users.into_iter().map(|(operation, user)| {
        // An admin signed up by an operator has no password. Setting one also verifies the address.
        let purpose = if operation.kind == Kind::CreateAdmin {
            Purpose::ResetPassword
        } else {
            Purpose::VerifyEmail
        };
        NewLink {
            operation,
            purpose,
            link: link(purpose, user),
        }
    });
    let new: Vec<NewLink<'a>> = new.collect();
    if !new.is_empty() {
        let rows: Vec<(Purpose, Link)> = new.iter().map(|new| (new.purpose, new.link)).collect();
        links::add(unit.tx(), &rows).await.map_err(failed)?;
    }
    Ok(new)
}

/// Publishes the commands that send these links.
fn publish_mails(unit: &mut Unit<Postgres>, links: &[NewLink<'_>]) -> Result<(), Failure> {
    for NewLink {
        operation,
        purpose,
        link,
    } in links
    {
        // The e-mail goes to the address of this profile version, even if the notification service holds an older
        // profile.
        let version = profile_version(&operation.reply.body, link.user_id);
        let mail = mail(*purpose, link).expected_version(version);
        unit.publish(&operation.reply.cause(), mail)?;
    }
    Ok(())
}

/// Returns the ids of the accepted operations of these kinds.
fn accepted(completed: &[Completed<'_>], kinds: &[Kind]) -> Vec<Uuid> {
    let operations = completed.iter().filter(|operation| operation.is_accepted());
    of_kinds(operations, kinds)
}

/// Returns the ids of the operations of these kinds that were rejected or failed.
fn rejected(completed: &[Completed<'_>], kinds: &[Kind]) -> Vec<Uuid> {
    let operations = completed.iter().filter(|operation| !operation.is_accepted());
    of_kinds(operations, kinds)
}

fn of_kinds<'a>(operations: impl Iterator<Item = &'a Completed<'a>>, kinds: &[Kind]) -> Vec<Uuid> {
    let operations = operations.filter(|operation| kinds.contains(&operation.kind));
    operations.map(|operation| operation.id).collect()
}

/// Replaces the operation ids by the operations.
fn by_operation<'a>(completed: &'a [Completed<'a>], users: Vec<(Uuid, Uuid)>) -> Vec<(&'a Completed<'a>, Uuid)> {
    let users = users.into_iter().filter_map(|(id, user)| {
        let operation = completed.iter().find(|operation| operation.id == id)?;
        Some((operation, user))
    });
    users.collect()
}

/// Returns the version of the user's profile that the command wrote, or `None` if it wrote none.
fn profile_version(reply: &Reply, user: Uuid) -> Option<i64> {
    let Reply::CommandAccepted(accepted) = reply else {
        return None;
    };
    let of_profile = |effect: &&contracts::Effect| effect.topic == topics::USERS_PROFILES.name && effect.key == user;
    accepted.effects.iter().find(of_profile).map(|effect| effect.sequence)
}

/// Returns the id of the command that `reply` is for, and the outcome.
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
