//! Who may act now.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use uuid::Uuid;

use crate::roles::Roles;
use crate::store::accounts;

/// How long an answer is believed: after that, a deactivated user's tokens and a role that was taken away are gone.
const BELIEVED: Duration = Duration::from_secs(1);
/// Users that are remembered. A full memory is emptied.
const REMEMBERED: usize = 20_000;

/// The roles of those who may sign in, looked up and remembered for a moment.
pub struct Members {
    pool: PgPool,
    known: RwLock<HashMap<Uuid, (Instant, Option<Roles>)>>,
}

impl Members {
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            known: RwLock::default(),
        }
    }

    /// `None`: this user can't do anything (any more).
    pub async fn roles(&self, user: Uuid) -> sqlx::Result<Option<Roles>> {
        let known = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&user)
            .copied();
        if let Some((since, roles)) = known
            && since.elapsed() < BELIEVED
        {
            return Ok(roles);
        }
        let asked = Instant::now();
        let roles = accounts::roles(&self.pool, user).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(user, (asked, roles));
        Ok(roles)
    }

    /// What this process itself has changed need not be believed.
    pub fn forget(&self, user: Uuid) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&user);
    }
}
