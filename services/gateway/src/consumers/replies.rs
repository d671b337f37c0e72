use std::collections::HashMap;

use contracts::{CommandAccepted, CommandFailed, CommandRejected, Reply, topics};
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;
use uuid::Uuid;

use super::{failed, wake};
use crate::operations::Wakes;
use crate::store::accounts;
use crate::store::operations::{Completion, Effect, Kind, Outcome, Refusal, complete};

/// What the read models are made of: an effect on any other topic can't be waited for here.
const READ: [&contracts::Topic; 4] = [
    &topics::USERS,
    &topics::USERS_PROFILES,
    &topics::EVENTS,
    &topics::REGISTRATIONS,
];

/// Completes operations; a sign-up's reply activates its credentials, or deletes them.
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
        let sign_ups = completed
            .iter()
            .filter(|(_, kind)| matches!(kind, Kind::CreateUser | Kind::BootstrapAdmin));
        let (activate, discard): (Vec<Uuid>, Vec<Uuid>) = sign_ups.clone().map(|(id, _)| *id).partition(accepted);
        for (id, kind) in sign_ups {
            if *kind == Kind::BootstrapAdmin && !accepted(id) {
                tracing::error!(operation = %id, "the first admin was refused: look at GATEWAY_BOOTSTRAP_ADMIN_*");
            }
        }
        if !activate.is_empty() {
            accounts::activate(unit.tx(), &activate).await.map_err(failed)?;
        }
        if !discard.is_empty() {
            accounts::discard(unit.tx(), &discard).await.map_err(failed)?;
        }
        wake(&self.wakes, messages);
        Ok(())
    }
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
            let result = result.clone();
            (*command_id, Outcome::Accepted { effects, result })
        }
        Reply::CommandRejected(CommandRejected {
            command_id,
            code,
            detail,
            errors,
        }) => {
            let refusal = Refusal {
                code: code.clone(),
                detail: detail.clone(),
                errors: errors.clone(),
            };
            (*command_id, Outcome::Rejected(refusal))
        }
        Reply::CommandFailed(CommandFailed {
            command_id,
            code,
            detail,
        }) => {
            let refusal = Refusal {
                code: code.clone(),
                detail: detail.clone(),
                errors: Vec::new(),
            };
            (*command_id, Outcome::Failed(refusal))
        }
    }
}
