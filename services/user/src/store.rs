//! The rows beside the journal: who holds which e-mail and username, and the profiles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contracts::aggregate::Command;
use contracts::{CreateUser, Effect, UserCommand, UserEvent, UserProfile, UserProfileState, topics};
use messaging::ledger::{StoreError, StoreErrorKind};
use messaging::{Failure, Outgoing, Unit};
use postgres::{Decided, Postgres, Store, Tx, store_error};
use uuid::Uuid;

use crate::domain::{self, User, email_key};

/// The accounts' rows.
#[derive(Debug, Clone)]
pub struct Accounts {
    allowed_domains: Arc<[String]>,
}

impl Accounts {
    /// E-mails must be of one of these domains; of any, if there are none.
    pub fn new(allowed_domains: &[String]) -> Self {
        Self {
            allowed_domains: allowed_domains.iter().map(|domain| domain.to_lowercase()).collect(),
        }
    }
}

impl Store<User> for Accounts {
    async fn context(&self, tx: &mut Tx, commands: &[Command<UserCommand>]) -> Result<domain::Accounts, StoreError> {
        let mut accounts = domain::Accounts::new(Arc::clone(&self.allowed_domains));
        let (mut emails, mut usernames) = (Vec::new(), Vec::new());
        for command in commands {
            if let UserCommand::CreateUser(create) = &command.body {
                accounts
                    .claim(command.key, create)
                    .map_err(|_| StoreError::new(StoreErrorKind::Conflict, "two sign-ups of one user in a batch"))?;
                emails.push(email_key(&create.email));
                usernames.push(create.username.clone());
            }
        }
        if emails.is_empty() {
            return Ok(accounts);
        }
        let held: Vec<(bool, String, Uuid)> = sqlx::query_as(
            "SELECT true, email, user_id FROM emails WHERE email = ANY($1)
             UNION ALL
             SELECT false, username, user_id FROM usernames WHERE username = ANY($2)",
        )
        .bind(emails)
        .bind(usernames)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
        for (is_email, text, user) in held {
            match is_email {
                true => accounts.email_is_held(&text, user),
                false => accounts.username_is_held(&text, user),
            }
        }
        Ok(accounts)
    }

    async fn write(&self, unit: &mut Unit<Postgres>, decisions: &mut [Decided<'_, User>]) -> Result<(), Failure> {
        // Sorted, so that two transactions claim in the same order.
        let mut emails: BTreeMap<String, Uuid> = BTreeMap::new();
        let mut usernames: BTreeMap<String, Uuid> = BTreeMap::new();
        let mut profiles = Vec::new();
        let mut deactivated = BTreeSet::new();
        for decided in decisions.iter_mut() {
            let user = decided.command.key;
            for (version, event) in &decided.domain_events {
                match (event, &decided.command.body) {
                    (UserEvent::UserCreated(_), UserCommand::CreateUser(create)) => {
                        emails.insert(email_key(&create.email), user);
                        usernames.insert(create.username.clone(), user);
                        profiles.push((user, *version, create));
                        say_profile(unit, decided.received.cause(), user, *version, create)?;
                        decided.effects.push(Effect {
                            topic: topics::USERS_PROFILES.name.to_owned(),
                            key: user,
                            sequence: *version,
                        });
                    }
                    (UserEvent::UserDeactivated(_), _) => {
                        emails.retain(|_, holder| *holder != user);
                        deactivated.insert(user);
                    }
                    (UserEvent::UserCreated(_), UserCommand::DeactivateUser(_)) => {
                        return Err(Failure::poison("only a CreateUser creates a user"));
                    }
                }
            }
        }
        // First what was freed, so that it can be taken again in the same batch.
        if !deactivated.is_empty() {
            sqlx::query("DELETE FROM emails WHERE user_id = ANY($1)")
                .bind(deactivated.into_iter().collect::<Vec<_>>())
                .execute(&mut **unit.tx())
                .await
                .map_err(store_error)?;
        }
        claim(
            unit.tx(),
            "INSERT INTO emails (email, user_id) SELECT * FROM UNNEST($1::text[], $2::uuid[])",
            emails,
        )
        .await?;
        claim(
            unit.tx(),
            "INSERT INTO usernames (username, user_id) SELECT * FROM UNNEST($1::text[], $2::uuid[])",
            usernames,
        )
        .await?;
        insert_profiles(unit.tx(), &profiles).await?;
        Ok(())
    }
}

fn say_profile(
    unit: &mut Unit<Postgres>,
    cause: messaging::Cause,
    user: Uuid,
    version: i64,
    create: &CreateUser,
) -> Result<(), Failure> {
    let profile = UserProfile {
        email: create.email.clone(),
        username: create.username.clone(),
        full_name: create.full_name.clone(),
        date_of_birth: create.date_of_birth,
        time_zone: create.time_zone.clone(),
    };
    Ok(unit.say(
        &cause,
        Outgoing::<UserProfileState>::new(user, profile).sequence(version),
    )?)
}

/// A row that is there already is a conflict: another worker was faster.
async fn claim(tx: &mut Tx, statement: &str, claims: BTreeMap<String, Uuid>) -> Result<(), StoreError> {
    if claims.is_empty() {
        return Ok(());
    }
    let (texts, users): (Vec<String>, Vec<Uuid>) = claims.into_iter().unzip();
    sqlx::query(statement)
        .bind(texts)
        .bind(users)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

async fn insert_profiles(tx: &mut Tx, profiles: &[(Uuid, i64, &CreateUser)]) -> Result<(), StoreError> {
    if profiles.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO profiles (user_id, version, email, username, full_name, date_of_birth, time_zone)
         SELECT * FROM UNNEST($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::date[], $7::text[])",
    )
    .bind(profiles.iter().map(|(user, _, _)| *user).collect::<Vec<_>>())
    .bind(profiles.iter().map(|(_, version, _)| *version).collect::<Vec<_>>())
    .bind(
        profiles
            .iter()
            .map(|(_, _, create)| create.email.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        profiles
            .iter()
            .map(|(_, _, create)| create.username.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        profiles
            .iter()
            .map(|(_, _, create)| create.full_name.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        profiles
            .iter()
            .map(|(_, _, create)| create.date_of_birth.to_naive())
            .collect::<Vec<_>>(),
    )
    .bind(
        profiles
            .iter()
            .map(|(_, _, create)| create.time_zone.as_str())
            .collect::<Vec<_>>(),
    )
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}
