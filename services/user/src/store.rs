//! The tables of this service besides the journal: taken names, and profiles.

mod names;
mod profiles;
mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;

use contracts::{Command, Effect, UserCommand, UserEvent, UserProfileState, topics};
use messaging::ledger::{StoreError, StoreErrorKind};
use messaging::{Failure, Outgoing, Unit};
use postgres::{Decided, Postgres, Store, Tx, store_error};
use uuid::Uuid;

use self::names::Kind;
use self::rows::Rows;
use crate::domain::{Accounts, User};

#[derive(Debug, Clone)]
pub struct UserStore {
    allowed_email_domains: Arc<[String]>,
}

impl UserStore {
    /// Creates a store that allows only e-mail addresses of these domains. If there are none, all domains are allowed.
    pub fn new(allowed_email_domains: impl IntoIterator<Item = String>) -> Self {
        Self {
            allowed_email_domains: allowed_email_domains
                .into_iter()
                .map(|domain| domain.to_lowercase())
                .collect(),
        }
    }
}

impl Store<User> for UserStore {
    async fn context(&self, tx: &mut Tx, commands: &[Command<UserCommand>]) -> Result<Accounts, StoreError> {
        let mut accounts = Accounts::new(Arc::clone(&self.allowed_email_domains));
        for command in commands {
            accounts.register_command(command.key, &command.body).map_err(|_| {
                StoreError::new(
                    StoreErrorKind::Conflict,
                    "a batch has two sign-ups or two changes of the same user",
                )
            })?;
        }
        let emails = accounts.requested_emails().map(|email| (Kind::Email, email));
        let usernames = accounts.requested_usernames().map(|name| (Kind::Username, name));
        let names: Vec<_> = emails.chain(usernames).collect();
        for (kind, name, user) in names::holders(tx, &names).await.map_err(store_error)? {
            match kind {
                Kind::Email => accounts.add_email_holder(&name, user),
                Kind::Username => accounts.add_username_holder(&name, user),
            }
        }
        let with_profile: BTreeSet<Uuid> = commands
            .iter()
            .filter(|command| matches!(command.body, UserCommand::ChangeUser(_) | UserCommand::VerifyEmail(_)))
            .map(|command| command.key)
            .collect();
        for (user, profile) in profiles::find(tx, &with_profile).await.map_err(store_error)? {
            accounts.add_profile(user, profile);
        }
        Ok(accounts)
    }

    async fn write(
        &self,
        unit: &mut Unit<Postgres>,
        _: &Accounts,
        decisions: &mut [Decided<'_, User>],
    ) -> Result<(), Failure> {
        let (changed, erased) = (with_changed_profile(decisions), erased(decisions));
        let mut rows = Rows::from_profiles(profiles::find(unit.tx(), &changed).await.map_err(store_error)?);
        for decided in decisions {
            let key = decided.command.key;
            for (version, event) in &decided.domain_events {
                let Some(state) = rows.apply(key, event, &decided.command.body) else {
                    continue;
                };
                let profile = Outgoing::<UserProfileState>::new(key, state).sequence(*version);
                unit.publish(&decided.received.cause(), profile)?;
                decided.effects.push(Effect {
                    topic: topics::USERS_PROFILES.name.to_owned(),
                    key,
                    sequence: *version,
                });
            }
        }
        rows.write(unit.tx()).await.map_err(store_error)?;
        if !erased.is_empty() {
            unit.erase(&erased).await?;
        }
        Ok(())
    }
}

/// Returns the users whose profile this batch may change or delete, except newly created ones.
fn with_changed_profile(decisions: &[Decided<'_, User>]) -> BTreeSet<Uuid> {
    decisions
        .iter()
        .filter(|decided| {
            let events = &decided.domain_events;
            events
                .iter()
                .any(|(_, event)| !matches!(event, UserEvent::UserCreated(_)))
        })
        .map(|decided| decided.command.key)
        .collect()
}

/// Returns the users that this batch erases. Users who were erased before are included, because commands with their
/// personal data may have been dead-lettered since.
fn erased(decisions: &[Decided<'_, User>]) -> Vec<Uuid> {
    decisions
        .iter()
        .filter(|decided| matches!(decided.command.body, UserCommand::EraseUser(_)))
        .map(|decided| decided.command.key)
        .collect()
}
