//! What an account's decisions read and write beside the journal: names that are taken, and profiles.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::NaiveDate;
use contracts::{Command, CreateUser, Effect, UserCommand, UserEvent, UserProfile, UserProfileState, topics};
use messaging::ledger::{StoreError, StoreErrorKind};
use messaging::{Failure, Outgoing, Unit};
use postgres::{Decided, Postgres, Store, Tx, store_error};
use uuid::Uuid;

use crate::domain::{Accounts, User, email_key};

// Kinds of names.
const EMAIL: &str = "email";
const USERNAME: &str = "username";

#[derive(Debug, Clone)]
pub struct UserStore {
    allowed_email_domains: Arc<[String]>,
}

impl UserStore {
    /// E-mails must be of one of these domains; of any, if there are none.
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
            if let UserCommand::CreateUser(create) = &command.body {
                accounts
                    .claim(command.key, create)
                    .map_err(|_| StoreError::new(StoreErrorKind::Conflict, "two CreateUser for one key in a batch"))?;
            }
        }
        let (mut kinds, mut names) = (Vec::new(), Vec::new());
        for (email, username) in accounts.claimed() {
            kinds.extend([EMAIL, USERNAME]);
            names.extend([email.to_owned(), username.to_owned()]);
        }
        if names.is_empty() {
            return Ok(accounts);
        }
        let held: Vec<(String, String, Uuid)> = sqlx::query_as(
            "SELECT held.* FROM UNNEST($1::text[], $2::text[]) AS a (kind, name)
             CROSS JOIN LATERAL (
                 SELECT kind, name, user_id FROM names WHERE kind = a.kind AND name = a.name LIMIT 1
             ) held",
        )
        .bind(kinds)
        .bind(names)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
        for (kind, name, user) in held {
            match kind.as_str() {
                EMAIL => accounts.email_is_held(&name, user),
                _ => accounts.username_is_held(&name, user),
            }
        }
        Ok(accounts)
    }

    async fn write(&self, unit: &mut Unit<Postgres>, decisions: &mut [Decided<'_, User>]) -> Result<(), Failure> {
        let mut created = Vec::new();
        let mut deactivated = BTreeSet::new();
        for decided in decisions {
            let key = decided.command.key;
            for (version, event) in &decided.domain_events {
                match event {
                    UserEvent::UserCreated(_) => {
                        let UserCommand::CreateUser(create) = &decided.command.body else {
                            continue;
                        };
                        let profile = Outgoing::<UserProfileState>::new(key, profile(create)).sequence(*version);
                        unit.say(&decided.received.cause(), profile)?;
                        let topic = topics::USERS_PROFILES.name.to_owned();
                        decided.effects.push(Effect {
                            topic,
                            key,
                            sequence: *version,
                        });
                        created.push((key, create));
                    }
                    UserEvent::UserDeactivated(_) => {
                        deactivated.insert(key);
                    }
                }
            }
        }
        let tx = unit.tx();
        if !deactivated.is_empty() {
            free_emails(tx, &deactivated).await.map_err(store_error)?;
        }
        if !created.is_empty() {
            insert_profiles(tx, &created).await.map_err(store_error)?;
            claim_names(tx, &created, &deactivated).await.map_err(store_error)?;
        }
        Ok(())
    }
}

fn profile(create: &CreateUser) -> UserProfile {
    let CreateUser {
        email,
        username,
        full_name,
        date_of_birth,
        time_zone,
    } = create.clone();
    UserProfile {
        email,
        username,
        full_name,
        date_of_birth,
        time_zone,
    }
}

async fn free_emails(tx: &mut Tx, users: &BTreeSet<Uuid>) -> Result<(), sqlx::Error> {
    sqlx::query(
        r#"DELETE FROM names n USING profiles p
           WHERE p.user_id = ANY($1) AND n.kind = 'email' AND n.name = lower(p.email COLLATE "C") AND n.user_id = p.user_id"#,
    )
    .bind(users.iter().copied().collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn insert_profiles(tx: &mut Tx, created: &[(Uuid, &CreateUser)]) -> Result<(), sqlx::Error> {
    fn column<T>(created: &[(Uuid, &CreateUser)], of: impl Fn(&CreateUser) -> T) -> Vec<T> {
        created.iter().map(|(_, create)| of(create)).collect()
    }
    sqlx::query(
        "INSERT INTO profiles (user_id, email, username, full_name, date_of_birth, time_zone)
         SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::date[], $6::text[])",
    )
    .bind(created.iter().map(|(key, _)| *key).collect::<Vec<_>>())
    .bind(column(created, |create| create.email.clone()))
    .bind(column(created, |create| create.username.clone()))
    .bind(column(created, |create| create.full_name.clone()))
    .bind(column(created, |create| NaiveDate::from(create.date_of_birth)))
    .bind(column(created, |create| create.time_zone.clone()))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The rows that make what the context found free belong to one user, in sorted order.
async fn claim_names(
    tx: &mut Tx,
    created: &[(Uuid, &CreateUser)],
    deactivated: &BTreeSet<Uuid>,
) -> Result<(), sqlx::Error> {
    let mut names = BTreeSet::new();
    for (key, create) in created {
        if !deactivated.contains(key) {
            names.insert((EMAIL, email_key(&create.email), *key));
        }
        names.insert((USERNAME, create.username.clone(), *key));
    }
    sqlx::query("INSERT INTO names (kind, name, user_id) SELECT * FROM UNNEST($1::text[], $2::text[], $3::uuid[])")
        .bind(names.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>())
        .bind(names.iter().map(|(_, name, _)| name.as_str()).collect::<Vec<_>>())
        .bind(names.iter().map(|(.., key)| *key).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
