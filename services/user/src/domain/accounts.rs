use std::collections::HashMap;
use std::sync::Arc;

use contracts::{ChangeUser, CreateUser, UserCommand, UserProfile};
use uuid::Uuid;

use super::{form, profile};

/// The taken e-mail addresses and usernames and the profiles that one batch needs.
///
/// A store fills the context for a batch: first it [registers](Self::register_command) every command, then it adds the
/// holders of the requested names ([`add_email_holder`](Self::add_email_holder),
/// [`add_username_holder`](Self::add_username_holder)) and the profiles that decisions read
/// ([`add_profile`](Self::add_profile)).
///
/// Domain events carry no personal data, so `UserCreated` and `UserChanged` do not contain the profile. Therefore the
/// content of each command is kept here, and `evolve` finds it by the key. This works only if a key has one sign-up and
/// one change per batch, because a rejected first `ChangeUser` and an accepted second one could not be told apart. So
/// `register_command` rejects the second one, and the commands of such a batch are executed one by one.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Accounts {
    allowed_domains: Arc<[String]>,
    emails: HashMap<String, Uuid>,
    usernames: HashMap<String, Uuid>,
    profiles: HashMap<Uuid, UserProfile>,
    sign_ups: HashMap<Uuid, CreateUser>,
    changes: HashMap<Uuid, ChangeUser>,
}

/// A batch has two sign-ups or two changes of the same key. Its commands must be executed one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuplicateCommand;

/// Returns the form in which e-mail addresses are compared: addresses that differ only in case are the same.
pub fn email_key(email: &str) -> String {
    email.to_lowercase()
}

impl Accounts {
    /// Creates a context without accounts. `allowed_domains` (lower case) restricts the e-mail addresses; if it is empty,
    /// all domains are allowed.
    pub fn new(allowed_domains: Arc<[String]>) -> Self {
        Self {
            allowed_domains,
            ..Self::default()
        }
    }

    /// Keeps the content of a command for the domain event that may follow from it.
    ///
    /// Malformed names are not kept, because the decision rejects them in any case.
    ///
    /// # Errors
    /// Returns [`DuplicateCommand`] if the key already has a sign-up or a change in this batch.
    pub fn register_command(&mut self, key: Uuid, command: &UserCommand) -> Result<(), DuplicateCommand> {
        let is_duplicate = match command {
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
        if is_duplicate { Err(DuplicateCommand) } else { Ok(()) }
    }

    /// Returns the e-mail addresses whose holders the store must add, as [`email_key`]s.
    pub fn requested_emails(&self) -> impl Iterator<Item = String> {
        let new = self.sign_ups.values().map(|create| &create.email);
        let changed = self.changes.values().filter_map(|change| change.email.as_ref());
        new.chain(changed).map(|email| email_key(email))
    }

    /// Returns the usernames whose holders the store must add.
    pub fn requested_usernames(&self) -> impl Iterator<Item = String> {
        self.sign_ups.values().map(|create| create.username.clone())
    }

    /// Adds the user who has this e-mail address.
    pub fn add_email_holder(&mut self, email: &str, holder: Uuid) {
        self.emails.insert(email_key(email), holder);
    }

    /// Adds the user who has this username. A closed account keeps its username until the user is erased.
    pub fn add_username_holder(&mut self, username: &str, holder: Uuid) {
        self.usernames.insert(username.to_owned(), holder);
    }

    /// Adds the profile of a user.
    pub fn add_profile(&mut self, key: Uuid, profile: UserProfile) {
        self.profiles.insert(key, profile);
    }

    pub(super) fn profile(&self, key: Uuid) -> Option<&UserProfile> {
        self.profiles.get(&key)
    }

    /// Returns `true` if a user other than `user` has this e-mail address.
    pub(super) fn is_email_taken(&self, email: &str, user: Uuid) -> bool {
        self.emails.get(&email_key(email)).is_some_and(|holder| *holder != user)
    }

    pub(super) fn is_username_taken(&self, username: &str) -> bool {
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
