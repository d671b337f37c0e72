use std::collections::HashMap;

use contracts::{RevocationReason, RoleRevoked, SessionFamilyRevoked, UserEvent};
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;
use uuid::Uuid;

use super::{erase, failed, notify_waiters, sequence};
use crate::operations::OperationNotifier;
use crate::security::security_fact;
use crate::store::users::{UserRow, save};
use crate::store::{accounts, sessions};

/// Stores users. A deactivated user loses the credentials and the roles. The personal data of an erased user is erased.
pub struct Users(pub(crate) OperationNotifier);

impl Handler<Postgres> for Users {
    type Message = UserEvent;

    async fn handle(&mut self, unit: &mut Unit<Postgres>, messages: &[&Received<UserEvent>]) -> Result<(), Failure> {
        let mut rows: HashMap<Uuid, UserRow> = HashMap::new();
        for message in messages {
            let id = message.envelope.key;
            let row = rows.entry(id).or_insert(UserRow {
                id,
                created_at: None,
                deactivated_at: None,
                erased_at: None,
                version: 0,
            });
            row.version = sequence(message);
            match &message.body {
                UserEvent::UserCreated(created) => row.created_at = Some(created.created_at.to_utc()),
                UserEvent::UserDeactivated(deactivated) => {
                    row.deactivated_at = Some(deactivated.deactivated_at.to_utc());
                }
                UserEvent::UserErased(erased) => {
                    row.deactivated_at.get_or_insert(erased.erased_at.to_utc());
                    row.erased_at = Some(erased.erased_at.to_utc());
                }
                // The profile holds these changes.
                UserEvent::UserChanged(_) | UserEvent::EmailVerified(_) => {}
            }
        }
        let rows: Vec<UserRow> = rows.into_values().collect();
        save(unit.tx(), &rows).await.map_err(failed)?;
        let ids = |condition: fn(&UserRow) -> bool| -> Vec<Uuid> {
            rows.iter().filter(|row| condition(row)).map(|row| row.id).collect()
        };
        let deactivated = ids(|row| row.deactivated_at.is_some());
        if !deactivated.is_empty() {
            close_accounts(unit, messages, &deactivated).await?;
        }
        let erased = ids(|row| row.erased_at.is_some());
        if !erased.is_empty() {
            erase(unit, &erased).await?;
        }
        notify_waiters(&self.0, unit, messages);
        Ok(())
    }
}

/// Deletes the credentials, roles and sessions of these users, and publishes a fact for each role and session.
async fn close_accounts(
    unit: &mut Unit<Postgres>,
    messages: &[&Received<UserEvent>],
    users: &[Uuid],
) -> Result<(), Failure> {
    let cause = |user: Uuid| {
        let message = messages.iter().rfind(|message| message.envelope.key == user);
        message.expect("one of these messages closed the account").cause()
    };
    for (user_id, role) in accounts::close(unit.tx(), users).await.map_err(failed)? {
        let revoked = RoleRevoked {
            user_id,
            role: role.into(),
            revoked_by: None,
        };
        unit.publish(&cause(user_id), security_fact(Some(user_id), revoked))?;
    }
    for (user_id, family_id) in sessions::end_all(unit.tx(), users, None).await.map_err(failed)? {
        let revoked = SessionFamilyRevoked {
            user_id,
            family_id,
            reason: RevocationReason::AccountClosed,
        };
        unit.publish(&cause(user_id), security_fact(Some(user_id), revoked))?;
    }
    Ok(())
}
