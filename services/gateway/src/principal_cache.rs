//! Who may act now.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use uuid::Uuid;

use crate::principal::Principal;
use crate::roles::Roles;
use crate::store::accounts;
use crate::tokens::Bearer;

/// How long an answer is believed: after that, the tokens of a deactivated user or an ended session are worth nothing,
/// and a role that was taken away is gone.
const BELIEVED: Duration = Duration::from_secs(1);
/// Sessions that are remembered. A full memory is emptied.
const REMEMBERED: usize = 20_000;

/// The roles of those who may sign in, looked up and remembered for a moment.
pub struct PrincipalCache {
    pool: PgPool,
    known: RwLock<HashMap<Bearer, (Instant, Option<Roles>)>>,
}

impl PrincipalCache {
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            known: RwLock::default(),
        }
    }

    /// `None`: this user, or this session, can't do anything (any more).
    pub async fn find(&self, bearer: Bearer) -> sqlx::Result<Option<Principal>> {
        let principal = |roles| Principal {
            id: bearer.user,
            roles,
            session: bearer.session,
        };
        let known = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&bearer)
            .copied();
        if let Some((since, roles)) = known
            && since.elapsed() < BELIEVED
        {
            return Ok(roles.map(principal));
        }
        let asked = Instant::now();
        let roles = accounts::roles_in_session(&self.pool, bearer.user, bearer.session).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(bearer, (asked, roles));
        Ok(roles.map(principal))
    }

    /// What this process itself has changed need not be believed.
    pub fn invalidate(&self, user: Uuid) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|bearer, _| bearer.user != user);
    }
}
