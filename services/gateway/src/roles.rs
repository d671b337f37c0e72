//! The roles of users.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::text_enum;

text_enum! {
    /// A role. Every signed-in user is a member. An admin has the permissions of all roles.
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
    /// The roles that an admin can grant. Every user has the role of a member without a grant.
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
            // This role is never granted.
            Role::Member => Self::Unknown,
        }
    }
}

impl Role {
    /// Returns the role, or `None` if it is newer than this gateway.
    pub const fn from_contract(role: contracts::security::Role) -> Option<Self> {
        match role {
            contracts::security::Role::Organizer => Some(Self::Organizer),
            contracts::security::Role::Auditor => Some(Self::Auditor),
            contracts::security::Role::Admin => Some(Self::Admin),
            contracts::security::Role::Unknown => None,
        }
    }
}

impl Roles {
    /// Returns `true` if these roles include the permissions of `role`.
    pub fn include(self, role: Role) -> bool {
        role == Role::Member || self.0 & (role.bit() | Role::Admin.bit()) != 0
    }

    /// Returns `member` and the granted roles, in the order of [`Role::ALL`].
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
    fn an_admin_has_all_permissions_and_every_user_is_a_member() {
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
