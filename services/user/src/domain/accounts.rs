use std::collections::HashMap;
use std::sync::Arc;

use contracts::{ChangeUser, CreateUser, UserCommand, UserProfile};
use uuid::Uuid;

use super::{form, profile};

/// Which e-mails and usernames are taken and what profiles say, as far as one batch asks.
///
/// A store fills it for a batch: a [`claim`](Self::claim) for every command, then the holders of what is claimed
/// ([`email_is_held`](Self::email_is_held), [`username_is_held`](Self::username_is_held)) and the profiles that
/// decisions look at ([`profile_is`](Self::profile_is)).
///
/// Neither `UserCreated` nor `UserChanged` says what the profile says: domain events carry no personal data. So what a
/// key asks for waits here from the beginning, and `evolve` finds it by the key. That is exact only while a key signs
/// up once and changes once a batch (a rejected first `ChangeUser` and an accepted second look alike by then), so
/// `claim` refuses the second one, and such a batch has to be taken one by one.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Accounts {
    allowed_domains: Arc<[String]>,
    emails: HashMap<String, Uuid>,
    usernames: HashMap<String, Uuid>,
    profiles: HashMap<Uuid, UserProfile>,
    sign_ups: HashMap<Uuid, CreateUser>,
    changes: HashMap<Uuid, ChangeUser>,
}

/// One key asks twice in a batch: take it one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedTwice;

/// What an e-mail is known by: two that differ in case only are one.
pub fn email_key(email: &str) -> String {
    email.to_lowercase()
}

impl Accounts {
    /// E-mails must be of one of these domains (lower case); of any, if there are none.
    pub fn new(allowed_domains: Arc<[String]>) -> Self {
        Self {
            allowed_domains,
            ..Self::default()
        }
    }

    /// Notes what a command asks for, so that its domain event can take it. What has no right form is refused
    /// whoever holds it, and not noted.
    pub fn claim(&mut self, key: Uuid, command: &UserCommand) -> Result<(), ClaimedTwice> {
        let twice = match command {
            UserCommand::CreateUser(create) => {
                form::is_email(&create.email)
                    && form::is_username(&create.username)
                    && self.sign_ups.insert(key, create.clone()).is_some()
            }
            UserCommand::ChangeUser(change) => {
                change.email.as_deref().is_none_or(form::is_email) && self.changes.insert(key, change.clone()).is_some()
            }
            UserCommand::VerifyEmail(_) | UserCommand::DeactivateUser(_) | UserCommand::EraseUser(_) => false,
        };
        if twice { Err(ClaimedTwice) } else { Ok(()) }
    }

    /// The e-mails to look up, by [`email_key`].
    pub fn claimed_emails(&self) -> impl Iterator<Item = String> {
        let new = self.sign_ups.values().map(|create| &create.email);
        let changed = self.changes.values().filter_map(|change| change.email.as_ref());
        new.chain(changed).map(|email| email_key(email))
    }

    /// The usernames to look up.
    pub fn claimed_usernames(&self) -> impl Iterator<Item = String> {
        self.sign_ups.values().map(|create| create.username.clone())
    }

    /// The user has this e-mail.
    pub fn email_is_held(&mut self, email: &str, by: Uuid) {
        self.emails.insert(email_key(email), by);
    }

    /// The user has this username, or had it: until they are forgotten, nobody else gets it.
    pub fn username_is_held(&mut self, username: &str, by: Uuid) {
        self.usernames.insert(username.to_owned(), by);
    }

    /// What is known of the user.
    pub fn profile_is(&mut self, key: Uuid, profile: UserProfile) {
        self.profiles.insert(key, profile);
    }

    pub(super) fn profile(&self, key: Uuid) -> Option<&UserProfile> {
        self.profiles.get(&key)
    }

    /// Whether it is somebody else's.
    pub(super) fn has_email(&self, email: &str, than: Uuid) -> bool {
        self.emails.get(&email_key(email)).is_some_and(|holder| *holder != than)
    }

    pub(super) fn has_username(&self, username: &str) -> bool {
        self.usernames.contains_key(username)
    }

    pub(super) fn allows_domain(&self, domain: &str) -> bool {
        self.allowed_domains.is_empty() || self.allowed_domains.contains(&domain.to_lowercase())
    }

    pub(super) fn created(&mut self, key: Uuid) {
        let Some(create) = self.sign_ups.get(&key) else { return };
        self.emails.insert(email_key(&create.email), key);
        self.usernames.insert(create.username.clone(), key);
        self.profiles.insert(key, profile::opened(create));
    }

    pub(super) fn changed(&mut self, key: Uuid) {
        let (Some(change), Some(before)) = (self.changes.get(&key), self.profiles.get(&key)) else {
            return;
        };
        let after = profile::changed(before, change);
        if change.email.is_some() {
            self.emails.remove(&email_key(&before.email));
            self.emails.insert(email_key(&after.email), key);
        }
        self.profiles.insert(key, after);
    }

    pub(super) fn verified(&mut self, key: Uuid) {
        if let Some(profile) = self.profiles.get_mut(&key) {
            *profile = profile::verified(profile);
        }
    }

    pub(super) fn deactivated(&mut self, key: Uuid) {
        self.emails.retain(|_, holder| *holder != key);
    }

    pub(super) fn erased(&mut self, key: Uuid) {
        self.usernames.retain(|_, holder| *holder != key);
        self.profiles.remove(&key);
    }
}
