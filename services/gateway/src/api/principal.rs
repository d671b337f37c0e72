//! Extractors for the principal of a request. A handler that takes one of them as an argument is only called for such a
//! principal, so the argument is the check.

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

/// Any client. A token is optional, but must be valid if it is sent.
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
                if principal.roles.include($role) {
                    Ok(Self(principal))
                } else {
                    Err(Error::RoleNeeded($role))
                }
            }
        }
    )+};
}

principals! {
    /// Any signed-in user.
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

/// The result of the authentication, which runs before the handler.
#[derive(Clone)]
pub(super) enum Identity {
    Anonymous,
    Authenticated(Principal),
    InvalidToken(TokenError),
    /// The roles of the user could not be read.
    Unavailable(Arc<StoreError>),
}

/// Authenticates a request by its bearer token (RFC 6750). The roles are the current ones, not those in the token.
pub(super) async fn identify(headers: &HeaderMap, app: &App) -> Identity {
    let Some(authorization) = headers.get(header::AUTHORIZATION) else {
        return Identity::Anonymous;
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
        Err(error) => Identity::InvalidToken(error),
        Ok(bearer) => match app.principals().find(bearer).await {
            Ok(Some(principal)) => Identity::Authenticated(principal),
            Ok(None) => Identity::InvalidToken(TokenError::Invalid),
            Err(error) => Identity::Unavailable(Arc::new(store_error(error))),
        },
    }
}

/// Returns the principal, or `None` if the request has no token. An invalid token is an error even if the route
/// requires none.
fn principal(parts: &Parts) -> Result<Option<Principal>, Error> {
    match parts.extensions.get::<Identity>() {
        None | Some(Identity::Anonymous) => Ok(None),
        Some(Identity::Authenticated(principal)) => Ok(Some(*principal)),
        Some(Identity::InvalidToken(error)) => Err(Error::Token(*error)),
        Some(Identity::Unavailable(error)) => Err(Error::Store(Arc::clone(error))),
    }
}
