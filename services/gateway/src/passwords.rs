//! Passwords: which are allowed, and how they are kept.

mod argon;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon::Memory;
use contracts::FieldError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config;

/// Memory that one hasher uses and keeps, in bytes.
pub const HASHER_BYTES: u64 = Memory::BYTES;

const SHORTEST: usize = 12;
const LONGEST: usize = 128;

/// Those of the well-known lists that are long enough to be chosen, in lower case.
const COMMON: &str = include_str!("passwords/common.txt");

/// A password that somebody may choose. `Debug` doesn't show it.
#[derive(Clone)]
pub struct Password(String);

/// Why a password can't be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    TooShort,
    TooLong,
    TooCommon,
}

/// All hashers are busy, and enough wait for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be hashed")]
pub struct Overloaded;

/// Hashes passwords: a few at once, a few waiting, and no more, so that a storm of sign-ups leaves the processor to
/// the other routes. Cheap to clone.
#[derive(Clone)]
pub struct Hasher(Arc<Pool>);

struct Pool {
    /// One for everybody who is inside: being hashed, or waiting.
    places: Arc<Semaphore>,
    hashers: Arc<Semaphore>,
    /// Working memories of the hashers that are idle and have hashed before.
    memories: Mutex<Vec<Memory>>,
    /// Verified where there is no such user, so that the answer takes as long.
    nobody: String,
}

impl Password {
    pub fn new(text: String) -> Result<Self, Fault> {
        let characters = text.chars().count();
        if characters < SHORTEST {
            Err(Fault::TooShort)
        } else if characters > LONGEST {
            Err(Fault::TooLong)
        } else if is_common(&text) {
            Err(Fault::TooCommon)
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

fn is_common(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut characters = text.chars();
    let first = characters.next();
    characters.all(|character| Some(character) == first) || COMMON.lines().any(|common| common == text)
}

impl Fault {
    pub fn message(self) -> &'static str {
        match self {
            Self::TooShort => "At least 12 characters.",
            Self::TooLong => "At most 128 characters.",
            Self::TooCommon => "This password is on the lists that are tried first.",
        }
    }

    /// As an answer says it.
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
    /// Hashes once, for the password of nobody.
    pub fn new(config: config::Passwords) -> Self {
        let mut memory = Memory::new();
        let nobody = memory.hash(&uuid::Uuid::now_v7().to_string());
        Self(Arc::new(Pool {
            places: Arc::new(Semaphore::new(config.hashers + config.queue)),
            hashers: Arc::new(Semaphore::new(config.hashers)),
            memories: Mutex::new(vec![memory]),
            nobody,
        }))
    }

    /// The hash to keep, in PHC string format.
    pub async fn hash(&self, password: Password) -> Result<String, Overloaded> {
        self.run(move |_, memory| memory.hash(&password.0)).await
    }

    /// Whether `hash` is of this password. Without a hash it takes as long, and says no.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Overloaded> {
        self.run(move |pool, memory| {
            let known = hash.is_some();
            let hash = hash.as_deref().unwrap_or(&pool.nobody);
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
        let place = Arc::clone(&self.0.places).try_acquire_owned().map_err(|_| Overloaded)?;
        let hasher = Arc::clone(&self.0.hashers)
            .acquire_owned()
            .await
            .map_err(|_| Overloaded)?;
        let pool = Arc::clone(&self.0);
        let permits: [OwnedSemaphorePermit; 2] = [place, hasher];
        tokio::task::spawn_blocking(move || {
            let memory = pool.memories().pop();
            let mut memory = memory.unwrap_or_else(Memory::new);
            let result = work(&pool, &mut memory);
            pool.memories().push(memory);
            // Held to the end of the work, also where the request has gone away.
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
        Hasher::new(config::Passwords { hashers, queue })
    }

    fn password(text: &str) -> Password {
        Password::new(text.to_owned()).expect("allowed")
    }

    #[test]
    fn length_counts_characters_and_the_common_ones_are_refused() {
        let fault = |text: &str| Password::new(text.to_owned()).err();
        assert_eq!(fault("elf letters"), Some(Fault::TooShort));
        assert_eq!(fault("zwölf Zeiche"), None);
        assert_eq!(fault(&"ab".repeat(65)), Some(Fault::TooLong));
        assert_eq!(fault("Password1234"), Some(Fault::TooCommon));
        assert_eq!(fault("aaaaaaaaaaaaaaaa"), Some(Fault::TooCommon));
        assert_eq!(fault("correct horse battery staple"), None);
    }

    #[test]
    fn the_list_has_only_what_could_be_chosen() {
        for common in COMMON.lines() {
            assert!((SHORTEST..=LONGEST).contains(&common.chars().count()), "{common}");
            assert_eq!(common, common.to_lowercase());
        }
    }

    #[test]
    fn debug_output_holds_no_password() {
        assert_eq!(format!("{:?}", password("correct horse battery")), "[hidden]");
    }

    #[tokio::test]
    async fn a_hash_is_of_its_password_alone() {
        let hasher = hasher(1, 1);
        let hash = hasher
            .hash(password("correct horse battery"))
            .await
            .expect("there is room");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify = async |text: &str, hash| hasher.verify(text.to_owned(), hash).await.expect("there is room");
        assert!(verify("correct horse battery", Some(hash.clone())).await);
        assert!(!verify("correct horse batteri", Some(hash)).await);
        assert!(!verify("correct horse battery", None).await);
        assert!(!verify("correct horse battery", Some("no hash".to_owned())).await);
    }

    #[tokio::test]
    async fn who_finds_no_place_is_refused_at_once() {
        let hasher = hasher(1, 1);
        let hash = || hasher.hash(password("correct horse battery"));
        let (one, two, three) = tokio::join!(hash(), hash(), hash());
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(three, Err(Overloaded));
        assert!(hash().await.is_ok());
    }
}
