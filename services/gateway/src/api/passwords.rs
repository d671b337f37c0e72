//! Setting a new password, with the old password or with a link sent by e-mail.

use axum::extract::State;
use axum::http::StatusCode;
use contracts::links::{Purpose, Token};
use contracts::{
    Actor, PasswordChanged, RevocationReason, SessionFamilyRevoked, SignInFailed, SignInFailure, Timestamp,
};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::{Segment, Write};
use super::form::{Form, field_error};
use super::principal::Member;
use crate::app::App;
use crate::error::Error;
use crate::passwords::Password;
use crate::security::{request_cause, security_fact};
use crate::store::{accounts, links, sessions};
use crate::tokens::TokenError;

/// The old password and the new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "old_password": "correct horse battery", "new_password": "staple of another kind" }))]
pub(super) struct PasswordChange {
    /// The current password.
    #[schema(format = Password, max_length = 1024)]
    old_password: String,
    /// Common passwords are rejected.
    #[schema(format = Password, min_length = 12, max_length = 128)]
    new_password: String,
}

/// Change your password. All your other sessions end.
#[utoipa::path(
    put, path = "/v1/me/password", tag = "sessions", operation_id = "changePassword",
    request_body = PasswordChange,
    security(("bearer" = [])),
    responses(
        (status = NO_CONTENT),
    ),
)]
pub(super) async fn change(
    State(app): State<App>,
    member: Member,
    Write { body, .. }: Write<PasswordChange>,
) -> Result<StatusCode, Error> {
    let password = parse_password("new_password", body.new_password)?;
    // Attempts are limited, because a stolen access token must not allow guessing the password.
    app.limits().account(&member.id.to_string())?;
    let hash = accounts::password_hash(app.pool(), member.id).await?;
    if !app.hasher().verify(body.old_password, hash.clone()).await? {
        let failed = SignInFailed {
            user_id: Some(member.id),
            reason: SignInFailure::WrongPassword,
        };
        app.security_log().record(Some(member.id), Some(member.actor()), failed);
        return Err(wrong_password());
    }
    let change = Change {
        user: member.id,
        actor: member.actor(),
        kept_session: Some(member.session),
        old_hash: hash,
        link: None,
    };
    set_password(&app, password, change).await
}

fn wrong_password() -> Error {
    Error::Invalid(vec![field_error(
        "old_password",
        "wrong",
        "Must be your current password.",
    )])
}

/// The account whose password is to be reset.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "email": "ada@example.org" }))]
pub(super) struct ResetRequest {
    /// E-mail address of the account.
    #[schema(format = Email, max_length = 254)]
    email: String,
}

/// Request a password reset.
///
/// A link that sets a new password is sent to the address if an account has it. The response and its time do not
/// depend on whether such an account exists.
#[utoipa::path(
    post, path = "/v1/password-resets", tag = "sessions", operation_id = "requestPasswordReset",
    request_body = ResetRequest,
    responses(
        (status = NO_CONTENT),
    ),
)]
pub(super) async fn request_reset(
    State(app): State<App>,
    Write { body, .. }: Write<ResetRequest>,
) -> Result<StatusCode, Error> {
    let mut form = Form::default();
    let is_plausible = body.email.len() <= 254 && body.email.contains('@');
    form.check(
        is_plausible,
        "email",
        "malformed",
        "Must be an e-mail address of at most 254 characters.",
    );
    form.finish()?;
    app.limits().account(&body.email)?;
    app.password_resets().request(body.email)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "password": "correct horse battery" }))]
pub(super) struct NewPassword {
    /// Common passwords are rejected.
    #[schema(format = Password, min_length = 12, max_length = 128)]
    password: String,
}

/// Set a new password with the token of a link sent by e-mail.
///
/// Each token can be used once. All sessions of the user end.
#[utoipa::path(
    put, path = "/v1/password-resets/{token}", tag = "sessions", operation_id = "resetPassword",
    params(("token" = String, Path, description = "Token of the link")), request_body = NewPassword,
    responses(
        (status = NO_CONTENT),
    ),
)]
pub(super) async fn reset(
    State(app): State<App>,
    Segment(token): Segment,
    Write { body, .. }: Write<NewPassword>,
) -> Result<StatusCode, Error> {
    let password = parse_password("password", body.password)?;
    let (token, _) = verify_link_token(&app, Purpose::ResetPassword, &token).await?;
    let user = token.link.user_id;
    let change = Change {
        user,
        actor: Actor::User(user),
        kept_session: None,
        old_hash: None,
        link: Some(token),
    };
    set_password(&app, password, change).await
}

/// Verifies the token of a link sent by e-mail and returns it with the current e-mail address of its user.
///
/// A valid token was issued by this service for this address, has not expired and has not been used. Two requests can
/// both pass this check with the same token: the transaction that uses the token up decides which of them succeeds.
///
/// # Errors
/// Returns [`Error::Link`] if the token is invalid, used or expired.
pub(super) async fn verify_link_token(app: &App, purpose: Purpose, text: &str) -> Result<(Token, String), Error> {
    let invalid = || Error::Link(TokenError::Invalid);
    let token = Token::parse(text).ok_or_else(invalid)?;
    let address = links::address(app.pool(), token.link.user_id).await?;
    let is_known = address.is_some();
    let email = address.map_or_else(String::new, |address| address.email);
    if !app.links().is_genuine(purpose, &token, &email) || !is_known {
        return Err(invalid());
    }
    if token.link.expires_at <= Timestamp::now() {
        return Err(Error::Link(TokenError::Expired));
    }
    if links::is_unused(app.pool(), purpose, &token.link).await? {
        Ok((token, email))
    } else {
        Err(invalid())
    }
}

fn parse_password(field: &str, text: String) -> Result<Password, Error> {
    Password::new(text).map_err(|error| Error::Invalid(vec![error.of_field(field)]))
}

/// A change of a password.
struct Change {
    user: Uuid,
    actor: Actor,
    /// The session that continues. All other sessions end.
    kept_session: Option<Uuid>,
    /// The hash that the old password was verified against. The change fails if the stored hash is another one by then.
    old_hash: Option<String>,
    /// The token of the link sent by e-mail, which the change uses up.
    link: Option<Token>,
}

async fn set_password(app: &App, password: Password, change: Change) -> Result<StatusCode, Error> {
    let hash = app.hasher().hash(password).await?;
    let mut unit = app.unit().await?;
    let cause = request_cause(change.actor);
    if let Some(token) = &change.link
        && !links::use_up(unit.tx(), Purpose::ResetPassword, &token.link).await?
    {
        return Err(Error::Link(TokenError::Invalid));
    }
    if !accounts::set_password(unit.tx(), change.user, &hash, change.old_hash.as_deref()).await? {
        return Err(match change.old_hash {
            // The password was right, but a link sent by e-mail has changed it in the meantime.
            Some(_) => wrong_password(),
            None => Error::NotFound,
        });
    }
    links::withdraw(unit.tx(), Purpose::ResetPassword, change.user).await?;
    let changed = PasswordChanged {
        user_id: change.user,
        by_reset: change.link.is_some(),
    };
    unit.publish(&cause, security_fact(Some(change.user), changed))?;
    for (user_id, family_id) in sessions::end_all(unit.tx(), &[change.user], change.kept_session).await? {
        let revoked = SessionFamilyRevoked {
            user_id,
            family_id,
            reason: RevocationReason::PasswordChanged,
        };
        unit.publish(&cause, security_fact(Some(user_id), revoked))?;
    }
    unit.commit().await?;
    app.principals().invalidate(change.user);
    Ok(StatusCode::NO_CONTENT)
}
