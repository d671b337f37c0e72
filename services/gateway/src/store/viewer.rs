//! The user who reads, which decides what is visible.

use uuid::Uuid;

/// The user on whose behalf data is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Viewer {
    /// `None` for an anonymous client.
    pub user: Option<Uuid>,
    /// `true` if the viewer has the role of an organizer, and therefore sees the attendees of the viewer's own events.
    pub organizes: bool,
    /// `true` if the viewer sees everything, as an admin.
    pub sees_all: bool,
}

impl Viewer {
    /// Returns `true` if the viewer may see private data of `owner`.
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
