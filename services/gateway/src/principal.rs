//! The authenticated user of a request.

use contracts::Actor;
use uuid::Uuid;

use crate::roles::{Role, Roles};
use crate::store::viewer::Viewer;

/// A signed-in user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    pub id: Uuid,
    pub roles: Roles,
    /// Id of the session that the access token was issued in.
    pub session: Uuid,
}

impl Principal {
    pub fn is_admin(&self) -> bool {
        self.roles.include(Role::Admin)
    }

    /// Returns the actor of the user's commands. Services distinguish only admins and users, because they do not know roles.
    pub fn actor(&self) -> Actor {
        if self.is_admin() {
            Actor::Admin(self.id)
        } else {
            Actor::User(self.id)
        }
    }

    /// Returns the viewer on whose behalf data is read.
    pub fn viewer(&self) -> Viewer {
        Viewer {
            user: Some(self.id),
            organizes: self.roles.include(Role::Organizer),
            sees_all: self.is_admin(),
        }
    }
}
