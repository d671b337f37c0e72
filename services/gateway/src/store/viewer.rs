//! Who reads: what there is depends on it.

use uuid::Uuid;

/// On whose behalf something is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Viewer {
    /// `None`: nobody who is signed in.
    pub user: Option<Uuid>,
    /// Whether this one sees who comes to the events that are this one's: an organizer, as long as it is one.
    pub organizes: bool,
    /// Whether there is nothing that this one may not see: an admin.
    pub sees_all: bool,
}

impl Viewer {
    /// Whether this one may see what is `owner`'s alone.
    pub fn may_see(self, owner: Uuid) -> bool {
        self.sees_all || self.user == Some(owner)
    }
}

impl From<Uuid> for Viewer {
    fn from(user: Uuid) -> Self {
        Self {
            user: Some(user),
            organizes: false,
            sees_all: false,
        }
    }
}
