//! Who asks, once that is known.

use contracts::Actor;
use uuid::Uuid;

use crate::roles::{Role, Roles};
use crate::store::viewer::Viewer;

/// A user who is signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    pub id: Uuid,
    pub roles: Roles,
    /// The family of refresh tokens that the access token came from.
    pub session: Uuid,
}

impl Principal {
    pub fn is_admin(&self) -> bool {
        self.roles.include(Role::Admin)
    }

    /// On whose behalf commands are said: the services need not know of roles.
    pub fn actor(&self) -> Actor {
        match self.is_admin() {
            true => Actor::Admin(self.id),
            false => Actor::User(self.id),
        }
    }

    /// On whose behalf things are read.
    pub fn viewer(&self) -> Viewer {
        Viewer {
            user: Some(self.id),
            organizes: self.roles.include(Role::Organizer),
            sees_all: self.is_admin(),
        }
    }
}
