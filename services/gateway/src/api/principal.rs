//! Who asks. A handler that takes one of these as an argument is only called for such a principal: asking for it is
//! the check.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use messaging::ledger::StoreError;
use postgres::store_error;

use crate::app::App;
use crate::error::Error;
use crate::principal::Principal;
use crate::roles::Role;
use crate::store::viewer::Viewer;
use crate::tokens::TokenError;

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

            async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
                let principal = principal(parts)?.ok_or(Error::NotSignedIn)?;
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
    pub(super) fn viewer(&self) -> Viewer {
        self.0.map_or_else(Viewer::default, |principal| principal.viewer())
    }
}

impl FromRequestParts<App> for Anyone {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        principal(parts).map(Self)
    }
}

/// Who asks, as far as could be told before the handler was called.
#[derive(Clone)]
pub(super) enum Identity {
    Nobody,
    Somebody(Principal),
    Rejected(TokenError),
    /// The store does not say.
    Unknown(Arc<StoreError>),
}

/// RFC 6750. The roles are those of now, not those of when the token was made.
pub(super) async fn identify(headers: &HeaderMap, app: &App) -> Identity {
    let Some(authorization) = headers.get(header::AUTHORIZATION) else {
        return Identity::Nobody;
    };
    let token = authorization
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let bearer = token
        .ok_or(TokenError::Invalid)
        .and_then(|token| app.tokens().verify(token));
    match bearer {
        Err(refused) => Identity::Rejected(refused),
        Ok(bearer) => match app.members().principal(bearer).await {
            Ok(Some(principal)) => Identity::Somebody(principal),
            Ok(None) => Identity::Rejected(TokenError::Invalid),
            Err(error) => Identity::Unknown(Arc::new(store_error(error))),
        },
    }
}

/// A token that was sent must be good, also where none is needed.
fn principal(parts: &Parts) -> Result<Option<Principal>, Error> {
    match parts.extensions.get::<Identity>() {
        None | Some(Identity::Nobody) => Ok(None),
        Some(Identity::Somebody(principal)) => Ok(Some(*principal)),
        Some(Identity::Rejected(refused)) => Err(Error::Token(*refused)),
        Some(Identity::Unknown(error)) => Err(Error::Store(Arc::clone(error))),
    }
}
