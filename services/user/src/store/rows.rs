use std::collections::{BTreeMap, BTreeSet};

use contracts::{UserCommand, UserEvent, UserProfile, UserProfileState};
use postgres::Tx;
use uuid::Uuid;

use super::names::{self, Kind, Name};
use super::profiles;
use crate::domain::{email_key, profile};

/// The rows that a batch changes, each once.
#[derive(Default)]
pub(super) struct Rows {
    profiles: BTreeMap<Uuid, UserProfile>,
    written: BTreeSet<Uuid>,
    erased: BTreeSet<Uuid>,
    freed: BTreeSet<Name>,
    taken: BTreeSet<Name>,
}

impl Rows {
    /// Starts from the profiles before the batch.
    pub(super) fn from_profiles(profiles: BTreeMap<Uuid, UserProfile>) -> Self {
        Self {
            profiles,
            ..Self::default()
        }
    }

    /// Applies a domain event and returns the user's new state message, or `None` if the profile does not change.
    pub(super) fn apply(&mut self, key: Uuid, event: &UserEvent, command: &UserCommand) -> Option<UserProfileState> {
        let before = self.profiles.get(&key).cloned();
        match (event, command, before) {
            (UserEvent::UserCreated(_), UserCommand::CreateUser(create), _) => {
                self.take(email(&create.email, key));
                self.take(username(&create.username, key));
                Some(self.put(key, profile::opened(create)))
            }
            (UserEvent::UserChanged(_), UserCommand::ChangeUser(change), Some(before)) => {
                let after = profile::changed(&before, change);
                if email_key(&before.email) != email_key(&after.email) {
                    self.free(email(&before.email, key));
                    self.take(email(&after.email, key));
                }
                Some(self.put(key, after))
            }
            (UserEvent::EmailVerified(_), _, Some(before)) => Some(self.put(key, profile::verified(&before))),
            (UserEvent::UserDeactivated(_), _, Some(before)) => {
                self.free(email(&before.email, key));
                None
            }
            (UserEvent::UserErased(_), _, before) => {
                if let Some(before) = before {
                    self.free(username(&before.username, key));
                }
                self.profiles.remove(&key);
                self.written.remove(&key);
                self.erased.insert(key);
                Some(UserProfileState::Tombstone)
            }
            (UserEvent::UserCreated(_) | UserEvent::UserChanged(_), _, _)
            | (UserEvent::EmailVerified(_) | UserEvent::UserDeactivated(_), _, None) => None,
        }
    }

    fn put(&mut self, key: Uuid, profile: UserProfile) -> UserProfileState {
        self.profiles.insert(key, profile.clone());
        self.written.insert(key);
        profile.into()
    }

    fn take(&mut self, name: Name) {
        if !self.freed.remove(&name) {
            self.taken.insert(name);
        }
    }

    fn free(&mut self, name: Name) {
        if !self.taken.remove(&name) {
            self.freed.insert(name);
        }
    }

    /// Writes the rows. Freed names are deleted first, because another user of the batch may have taken them.
    pub(super) async fn write(&self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        let written = self.written.iter().map(|key| (*key, &self.profiles[key]));
        profiles::write(tx, &written.collect::<Vec<_>>()).await?;
        profiles::erase(tx, &self.erased).await?;
        names::delete(tx, &self.freed).await?;
        names::insert(tx, &self.taken).await
    }
}

fn email(email: &str, user: Uuid) -> Name {
    (Kind::Email, email_key(email), user)
}

fn username(username: &str, user: Uuid) -> Name {
    (Kind::Username, username.to_owned(), user)
}
