//! What a user may do beyond what everybody may.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::text;

text! {
    /// A role. Everybody who is signed in is a member; an admin is all of them.
    #[derive(PartialOrd, Ord)]
    pub enum Role {
        Member => "member",
        Organizer => "organizer",
        Auditor => "auditor",
        Admin => "admin",
    }
}

/// The roles that a user was granted.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Role {
    /// Those that an admin grants: all but the one that everybody has.
    pub const GRANTED: [Self; 3] = [Self::Organizer, Self::Auditor, Self::Admin];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl From<Role> for contracts::security::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Organizer => Self::Organizer,
            Role::Auditor => Self::Auditor,
            Role::Admin => Self::Admin,
            // Nobody grants it.
            Role::Member => Self::Unknown,
        }
    }
}

impl Role {
    /// `None`: a role that is newer than this gateway.
    pub const fn granted(role: contracts::security::Role) -> Option<Self> {
        match role {
            contracts::security::Role::Organizer => Some(Self::Organizer),
            contracts::security::Role::Auditor => Some(Self::Auditor),
            contracts::security::Role::Admin => Some(Self::Admin),
            contracts::security::Role::Unknown => None,
        }
    }
}

impl Roles {
    /// Whether these roles allow what `role` may.
    pub fn include(self, role: Role) -> bool {
        role == Role::Member || self.0 & (role.bit() | Role::Admin.bit()) != 0
    }

    /// As they were granted, and `member`, in order.
    pub fn list(self) -> Vec<Role> {
        Role::ALL
            .into_iter()
            .filter(|role| *role == Role::Member || self.0 & role.bit() != 0)
            .collect()
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | role.bit()))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.list()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_may_all_and_everybody_is_a_member() {
        let may = |granted: &[Role]| {
            let roles: Roles = granted.iter().copied().collect();
            Role::ALL
                .into_iter()
                .filter(|role| roles.include(*role))
                .collect::<Vec<_>>()
        };
        assert_eq!(may(&[]), [Role::Member]);
        assert_eq!(may(&[Role::Auditor]), [Role::Member, Role::Auditor]);
        assert_eq!(may(&[Role::Admin]), Role::ALL);
        let listed: Roles = [Role::Admin, Role::Organizer].into_iter().collect();
        assert_eq!(listed.list(), [Role::Member, Role::Organizer, Role::Admin]);
    }
}
