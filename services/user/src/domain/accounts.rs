use std::collections::HashMap;
use std::sync::Arc;

use contracts::CreateUser;
use uuid::Uuid;

use super::form;

/// Which e-mails and usernames are taken, as far as one batch asks.
///
/// A store fills it for a batch: a [`claim`](Self::claim) for every `CreateUser`, then the holders of what is
/// [`claimed`](Self::claimed) ([`email_is_held`](Self::email_is_held), [`username_is_held`](Self::username_is_held)).
///
/// A `UserCreated` takes an e-mail and a username, but says neither: domain events carry no personal data. So what a
/// key asks for waits here from the beginning, and `evolve` finds it by the key. That is exact only while a key asks
/// once a batch (a rejected first `CreateUser` and an accepted second look alike by then), so `claim` refuses the
/// second one, and such a batch has to be taken one by one.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Accounts {
    allowed_domains: Arc<[String]>,
    emails: HashMap<String, Uuid>,
    usernames: HashMap<String, Uuid>,
    claims: HashMap<Uuid, Claim>,
}

#[derive(Debug, Clone, PartialEq)]
struct Claim {
    email: String,
    username: String,
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

    /// Notes what a `CreateUser` asks for, so that its `UserCreated` can take it. What has no right form is refused
    /// whoever holds it, and not noted.
    pub fn claim(&mut self, key: Uuid, create: &CreateUser) -> Result<(), ClaimedTwice> {
        if !form::is_email(&create.email) || !form::is_username(&create.username) {
            return Ok(());
        }
        let claim = Claim {
            email: email_key(&create.email),
            username: create.username.clone(),
        };
        match self.claims.insert(key, claim) {
            None => Ok(()),
            Some(_) => Err(ClaimedTwice),
        }
    }

    /// What to look up: pairs of an [`email_key`] and a username.
    pub fn claimed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.claims.values().map(|claim| (&*claim.email, &*claim.username))
    }

    /// The user has this e-mail.
    pub fn email_is_held(&mut self, email: &str, by: Uuid) {
        self.emails.insert(email_key(email), by);
    }

    /// The user has this username, or had it: one is never given twice.
    pub fn username_is_held(&mut self, username: &str, by: Uuid) {
        self.usernames.insert(username.to_owned(), by);
    }

    pub(super) fn has_email(&self, email: &str) -> bool {
        self.emails.contains_key(&email_key(email))
    }

    pub(super) fn has_username(&self, username: &str) -> bool {
        self.usernames.contains_key(username)
    }

    pub(super) fn allows_domain(&self, domain: &str) -> bool {
        self.allowed_domains.is_empty() || self.allowed_domains.contains(&domain.to_lowercase())
    }

    pub(super) fn claim_granted(&mut self, key: Uuid) {
        if let Some(claim) = self.claims.get(&key) {
            self.emails.insert(claim.email.clone(), key);
            self.usernames.insert(claim.username.clone(), key);
        }
    }

    pub(super) fn release_email(&mut self, key: Uuid) {
        self.emails.retain(|_, holder| *holder != key);
    }
}
