//! A cache of the roles of signed-in users.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use uuid::Uuid;

use crate::principal::Principal;
use crate::roles::Roles;
use crate::store::accounts;
use crate::tokens::Bearer;

/// Maximum age of a valid entry. A deactivation, the end of a session or a revoked role takes effect within this time.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Maximum number of entries. A full cache is cleared.
const MAX_ENTRIES: usize = 20_000;

/// The roles of the users who are signed in, by session. Entries are read from the store and cached for [`MAX_AGE`].
pub struct PrincipalCache {
    pool: PgPool,
    entries: RwLock<HashMap<Bearer, (Instant, Option<Roles>)>>,
}

impl PrincipalCache {
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            entries: RwLock::default(),
        }
    }

    /// Returns the user of an access token, or `None` if the account is closed or the session has ended.
    pub async fn find(&self, bearer: Bearer) -> sqlx::Result<Option<Principal>> {
        let principal = |roles| Principal {
            id: bearer.user,
            roles,
            session: bearer.session,
        };
        let entry = self
            .entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&bearer)
            .copied();
        if let Some((read_at, roles)) = entry
            && read_at.elapsed() < MAX_AGE
        {
            return Ok(roles.map(principal));
        }
        let read_at = Instant::now();
        let roles = accounts::roles_in_session(&self.pool, bearer.user, bearer.session).await?;
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(bearer, (read_at, roles));
        Ok(roles.map(principal))
    }

    /// Removes the entries of a user. A change that this process makes thereby takes effect here immediately.
    pub fn invalidate(&self, user: Uuid) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|bearer, _| bearer.user != user);
    }
}
