//! Passwords: the rules for new ones, and their hashes.

mod argon;
mod settings;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon::Memory;
use contracts::FieldError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use settings::Settings;

/// Minimum length of a password, in characters.
const MIN_LENGTH: usize = 12;
/// Maximum length of a password, in characters.
const MAX_LENGTH: usize = 128;

/// The entries of well-known password lists that are long enough to be chosen, in lower case.
const COMMON: &str = include_str!("passwords/common.txt");

/// A password that satisfies the rules. `Debug` does not show it.
#[derive(Clone)]
pub struct Password(String);

/// The reason why a password is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordFault {
    TooShort,
    TooLong,
    TooCommon,
}

/// All hashers are busy, and the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue of passwords to hash is full")]
pub struct Overloaded;

/// Hashes and verifies passwords. Cheap to clone.
///
/// The number of concurrent and of waiting passwords is limited, so a burst of sign-ups leaves processor time to the
/// other routes.
#[derive(Clone)]
pub struct Hasher(Arc<Pool>);

struct Pool {
    /// One permit for each password that is hashed or waits.
    admissions: Arc<Semaphore>,
    /// One permit for each password that is hashed.
    hashers: Arc<Semaphore>,
    /// Working memories of idle hashers, for reuse.
    memories: Mutex<Vec<Memory>>,
    /// Hash of a random password. It is verified if the user does not exist, so the response takes as long.
    decoy: String,
}

impl Password {
    /// Checks a new password against the rules.
    ///
    /// # Errors
    /// Returns the rule that the password violates.
    pub fn new(text: String) -> Result<Self, PasswordFault> {
        let characters = text.chars().count();
        if characters < MIN_LENGTH {
            Err(PasswordFault::TooShort)
        } else if characters > MAX_LENGTH {
            Err(PasswordFault::TooLong)
        } else if is_common(&text) {
            Err(PasswordFault::TooCommon)
        } else {
            Ok(Self(text))
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Returns `true` if the password is on a well-known list or repeats one character.
fn is_common(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut characters = text.chars();
    let first = characters.next();
    characters.all(|character| Some(character) == first) || COMMON.lines().any(|common| common == text)
}

impl PasswordFault {
    /// Returns a message for the user.
    pub fn message(self) -> &'static str {
        match self {
            Self::TooShort => "At least 12 characters.",
            Self::TooLong => "At most 128 characters.",
            Self::TooCommon => "This password is on a list of common passwords. Choose another one.",
        }
    }

    /// Returns the error of a request's field, as the API reports it.
    pub fn of_field(self, field: &str) -> FieldError {
        let code = match self {
            Self::TooShort => "too-short",
            Self::TooLong => "too-long",
            Self::TooCommon => "too-common",
        };
        FieldError {
            field: field.to_owned(),
            code: code.to_owned(),
            message: self.message().to_owned(),
        }
    }
}

impl Hasher {
    /// Creates a hasher. Computes one hash, of a random password.
    pub fn new(settings: Settings) -> Self {
        let mut memory = Memory::new();
        let decoy = memory.hash(&uuid::Uuid::now_v7().to_string());
        Self(Arc::new(Pool {
            admissions: Arc::new(Semaphore::new(settings.hashers + settings.queue)),
            hashers: Arc::new(Semaphore::new(settings.hashers)),
            memories: Mutex::new(vec![memory]),
            decoy,
        }))
    }

    /// Returns the hash of a password, in PHC string format.
    ///
    /// # Errors
    /// Returns [`Overloaded`] if the queue is full.
    pub async fn hash(&self, password: Password) -> Result<String, Overloaded> {
        self.run(move |_, memory| memory.hash(&password.0)).await
    }

    /// Returns `true` if `hash` is the hash of this password. Without a hash, it takes as long and returns `false`.
    ///
    /// # Errors
    /// Returns [`Overloaded`] if the queue is full.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Overloaded> {
        self.run(move |pool, memory| {
            let known = hash.is_some();
            let hash = hash.as_deref().unwrap_or(&pool.decoy);
            let matches = memory.verify(&password, hash).unwrap_or_else(|error| {
                tracing::error!(%error, "a stored password hash cannot be verified: {error}");
                false
            });
            known && matches
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Pool, &mut Memory) -> T + Send + 'static,
    ) -> Result<T, Overloaded> {
        let admission = Arc::clone(&self.0.admissions)
            .try_acquire_owned()
            .map_err(|_| Overloaded)?;
        let hasher = Arc::clone(&self.0.hashers)
            .acquire_owned()
            .await
            .map_err(|_| Overloaded)?;
        let pool = Arc::clone(&self.0);
        let permits: [OwnedSemaphorePermit; 2] = [admission, hasher];
        tokio::task::spawn_blocking(move || {
            let memory = pool.memories().pop();
            let mut memory = memory.unwrap_or_else(Memory::new);
            let result = work(&pool, &mut memory);
            pool.memories().push(memory);
            // The permits are held until the work ends, even if the client has disconnected.
            drop(permits);
            result
        })
        .await
        .map_err(|_| Overloaded)
    }
}

impl Pool {
    fn memories(&self) -> MutexGuard<'_, Vec<Memory>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher(hashers: usize, queue: usize) -> Hasher {
        Hasher::new(Settings { hashers, queue })
    }

    fn password(text: &str) -> Password {
        Password::new(text.to_owned()).expect("allowed")
    }

    #[test]
    fn the_length_is_counted_in_characters_and_common_passwords_are_refused() {
        let fault = |text: &str| Password::new(text.to_owned()).err();
        assert_eq!(fault("elf letters"), Some(PasswordFault::TooShort));
        assert_eq!(fault("zwölf Zeiche"), None);
        assert_eq!(fault(&"ab".repeat(65)), Some(PasswordFault::TooLong));
        assert_eq!(fault("Password1234"), Some(PasswordFault::TooCommon));
        assert_eq!(fault("aaaaaaaaaaaaaaaa"), Some(PasswordFault::TooCommon));
        assert_eq!(fault("correct horse battery staple"), None);
    }

    #[test]
    fn the_list_holds_only_passwords_that_satisfy_the_other_rules() {
        for common in COMMON.lines() {
            assert!((MIN_LENGTH..=MAX_LENGTH).contains(&common.chars().count()), "{common}");
            assert_eq!(common, common.to_lowercase());
        }
    }

    #[test]
    fn debug_output_does_not_show_the_password() {
        assert_eq!(format!("{:?}", password("correct horse battery")), "[hidden]");
    }

    #[tokio::test]
    async fn a_hash_matches_only_its_password() {
        let hasher = hasher(1, 1);
        let hash = hasher
            .hash(password("correct horse battery"))
            .await
            .expect("the queue is not full");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify = async |text: &str, hash| {
            hasher
                .verify(text.to_owned(), hash)
                .await
                .expect("the queue is not full")
        };
        assert!(verify("correct horse battery", Some(hash.clone())).await);
        assert!(!verify("correct horse batteri", Some(hash)).await);
        assert!(!verify("correct horse battery", None).await);
        assert!(!verify("correct horse battery", Some("not a hash".to_owned())).await);
    }

    #[tokio::test]
    async fn a_password_is_refused_immediately_when_the_queue_is_full() {
        let hasher = hasher(1, 1);
        let hash = || hasher.hash(password("correct horse battery"));
        let (one, two, three) = tokio::join!(hash(), hash(), hash());
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(three, Err(Overloaded));
        assert!(hash().await.is_ok());
    }
}
