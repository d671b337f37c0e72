//! Who asks. A handler that takes one of these as an argument is only called for such a principal: asking for it is
//! the check.

use std::ops::Deref;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use uuid::Uuid;

use crate::app::App;
use crate::error::Error;
use crate::roles::{Role, Roles};
use crate::tokens::Refused;

/// A user who is signed in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Principal {
    pub(super) id: Uuid,
    pub(super) roles: Roles,
}

/// Whoever asks; a token that is sent must be good all the same.
pub(super) struct Anyone(pub(super) Option<Principal>);

macro_rules! principals {
    ($($(#[$attribute:meta])* $name:ident: $role:expr;)+) => {$(
        $(#[$attribute])*
        pub(super) struct $name(Principal);

        impl Deref for $name {
            type Target = Principal;

            fn deref(&self) -> &Principal {
                &self.0
            }
        }

        impl FromRequestParts<App> for $name {
            type Rejection = Error;

            async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
                let principal = principal(parts, app).await?.ok_or(Error::NotSignedIn)?;
                match principal.roles.include($role) {
                    true => Ok(Self(principal)),
                    false => Err(Error::RoleNeeded($role)),
                }
            }
        }
    )+};
}

principals! {
    /// Whoever is signed in.
    Member: Role::Member;
    Organizer: Role::Organizer;
    Auditor: Role::Auditor;
    Admin: Role::Admin;
}

impl Anyone {
    pub(super) fn id(&self) -> Option<Uuid> {
        self.0.map(|principal| principal.id)
    }
}

impl FromRequestParts<App> for Anyone {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        principal(parts, app).await.map(Self)
    }
}

/// RFC 6750. The roles are those of now, not those of when the token was made.
async fn principal(parts: &Parts, app: &App) -> Result<Option<Principal>, Error> {
    let Some(authorization) = parts.headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let invalid = || Error::Token(Refused::Invalid);
    let (scheme, token) = authorization
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(invalid)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(invalid());
    }
    let id = app.tokens().verify(token.trim()).map_err(Error::Token)?;
    let roles = app.members().roles(id).await?.ok_or_else(invalid)?;
    Ok(Some(Principal { id, roles }))
}
