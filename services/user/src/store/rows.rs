use std::collections::{BTreeMap, BTreeSet};

use contracts::{UserCommand, UserEvent, UserProfile, UserProfileState};
use postgres::Tx;
use uuid::Uuid;

use super::names::{self, Kind, Name};
use super::profiles;
use crate::domain::{email_key, profile};

/// What a batch leaves in the rows, each once.
#[derive(Default)]
pub(super) struct Rows {
    profiles: BTreeMap<Uuid, UserProfile>,
    written: BTreeSet<Uuid>,
    erased: BTreeSet<Uuid>,
    freed: BTreeSet<Name>,
    claimed: BTreeSet<Name>,
}

impl Rows {
    /// Over what profiles say before the batch.
    pub(super) fn over(profiles: BTreeMap<Uuid, UserProfile>) -> Self {
        Self {
            profiles,
            ..Self::default()
        }
    }

    /// Notes a domain event, and answers what the user's state is then, if that is news.
    pub(super) fn note(&mut self, key: Uuid, event: &UserEvent, command: &UserCommand) -> Option<UserProfileState> {
        let before = self.profiles.get(&key).cloned();
        match (event, command, before) {
            (UserEvent::UserCreated(_), UserCommand::CreateUser(create), _) => {
                self.claim(email(&create.email, key));
                self.claim(username(&create.username, key));
                Some(self.put(key, profile::opened(create)))
            }
            (UserEvent::UserChanged(_), UserCommand::ChangeUser(change), Some(before)) => {
                let after = profile::changed(&before, change);
                if email_key(&before.email) != email_key(&after.email) {
                    self.free(email(&before.email, key));
                    self.claim(email(&after.email, key));
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

    fn claim(&mut self, name: Name) {
        if !self.freed.remove(&name) {
            self.claimed.insert(name);
        }
    }

    fn free(&mut self, name: Name) {
        if !self.claimed.remove(&name) {
            self.freed.insert(name);
        }
    }

    /// What is freed goes first: somebody else of the batch may have claimed it.
    pub(super) async fn write(&self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        let written = self.written.iter().map(|key| (*key, &self.profiles[key]));
        profiles::write(tx, &written.collect::<Vec<_>>()).await?;
        profiles::erase(tx, &self.erased).await?;
        names::free(tx, &self.freed).await?;
        names::claim(tx, &self.claimed).await
    }
}

fn email(email: &str, user: Uuid) -> Name {
    (Kind::Email, email_key(email), user)
}

fn username(username: &str, user: Uuid) -> Name {
    (Kind::Username, username.to_owned(), user)
}
