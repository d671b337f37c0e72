//! New passwords: by the old one, or by a mailed link.

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
use super::form::{Form, fault};
use super::principal::Member;
use crate::app::App;
use crate::error::Error;
use crate::passwords::Password;
use crate::security::{fact, request};
use crate::store::{accounts, links, sessions};
use crate::tokens::TokenError;

/// The old password and the new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "old_password": "correct horse battery", "new_password": "staple of another kind" }))]
pub(super) struct PasswordChange {
    #[schema(format = Password, max_length = 1024)]
    old_password: String,
    /// Not one of the common ones.
    #[schema(format = Password, min_length = 12, max_length = 128)]
    new_password: String,
}

/// Change your password. Your other sessions end.
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
    let password = parse("new_password", body.new_password)?;
    // Whoever found an open browser may not try passwords in it.
    app.limits().account(&member.id.to_string())?;
    let hash = accounts::password_hash(app.pool(), member.id).await?;
    if !app.hasher().verify(body.old_password, hash.clone()).await? {
        let failed = SignInFailed {
            user_id: Some(member.id),
            reason: SignInFailure::WrongPassword,
        };
        app.notes().note(Some(member.id), Some(member.actor()), failed);
        return Err(wrong());
    }
    let how = Change {
        user: member.id,
        actor: member.actor(),
        kept: Some(member.session),
        old: hash,
        link: None,
    };
    set(&app, password, how).await
}

fn wrong() -> Error {
    Error::Invalid(vec![fault("old_password", "wrong", "This is not your password.")])
}

/// Where to mail a link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "email": "ada@example.org" }))]
pub(super) struct Forgotten {
    #[schema(format = Email, max_length = 254)]
    email: String,
}

/// Have a link mailed that sets a new password.
///
/// The answer and its time are the same whether or not there is such an account.
#[utoipa::path(
    post, path = "/v1/password-resets", tag = "sessions", operation_id = "requestPasswordReset",
    request_body = Forgotten,
    responses(
        (status = NO_CONTENT),
    ),
)]
pub(super) async fn forget(State(app): State<App>, Write { body, .. }: Write<Forgotten>) -> Result<StatusCode, Error> {
    let mut form = Form::default();
    let looks_like_one = body.email.len() <= 254 && body.email.contains('@');
    form.check(looks_like_one, "email", "malformed", "This is no e-mail address.");
    form.finish()?;
    app.limits().account(&body.email)?;
    app.resets().ask(body.email)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "password": "correct horse battery" }))]
pub(super) struct NewPassword {
    /// Not one of the common ones.
    #[schema(format = Password, min_length = 12, max_length = 128)]
    password: String,
}

/// Set a new password by a mailed link, once. All your sessions end.
#[utoipa::path(
    put, path = "/v1/password-resets/{token}", tag = "sessions", operation_id = "resetPassword",
    params(("token" = String, Path, description = "From the link")), request_body = NewPassword,
    responses(
        (status = NO_CONTENT),
    ),
)]
pub(super) async fn reset(
    State(app): State<App>,
    Segment(token): Segment,
    Write { body, .. }: Write<NewPassword>,
) -> Result<StatusCode, Error> {
    let password = parse("password", body.password)?;
    let (token, _) = genuine(&app, Purpose::ResetPassword, &token).await?;
    let user = token.link.user_id;
    let how = Change {
        user,
        actor: Actor::User(user),
        kept: None,
        old: None,
        link: Some(token),
    };
    set(&app, password, how).await
}

/// A token that was made here, for the address that its user has now, which is answered too, and can be used. Whether it
/// will be the first to be used, the transaction tells that uses it up.
pub(super) async fn genuine(app: &App, purpose: Purpose, text: &str) -> Result<(Token, String), Error> {
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
    match links::is_unused(app.pool(), purpose, &token.link).await? {
        true => Ok((token, email)),
        false => Err(invalid()),
    }
}

fn parse(field: &str, text: String) -> Result<Password, Error> {
    Password::new(text).map_err(|fault| Error::Invalid(vec![fault.of_field(field)]))
}

/// How a password is changed.
struct Change {
    user: Uuid,
    actor: Actor,
    /// The session that goes on.
    kept: Option<Uuid>,
    /// The hash of the password that was told.
    old: Option<String>,
    /// The link that is used up by it.
    link: Option<Token>,
}

async fn set(app: &App, password: Password, how: Change) -> Result<StatusCode, Error> {
    let hash = app.hasher().hash(password).await?;
    let mut unit = app.unit().await?;
    let cause = request(how.actor);
    if let Some(token) = &how.link
        && !links::use_up(unit.tx(), Purpose::ResetPassword, &token.link).await?
    {
        return Err(Error::Link(TokenError::Invalid));
    }
    if !accounts::set_password(unit.tx(), how.user, &hash, how.old.as_deref()).await? {
        return Err(match how.old {
            // It was, but somebody has come by a link meanwhile.
            Some(_) => wrong(),
            None => Error::NotFound,
        });
    }
    links::withdraw(unit.tx(), Purpose::ResetPassword, how.user).await?;
    let changed = PasswordChanged {
        user_id: how.user,
        by_reset: how.link.is_some(),
    };
    unit.publish(&cause, fact(Some(how.user), changed))?;
    for (user_id, family_id) in sessions::end_all(unit.tx(), &[how.user], how.kept).await? {
        let revoked = SessionFamilyRevoked {
            user_id,
            family_id,
            reason: RevocationReason::PasswordChanged,
        };
        unit.publish(&cause, fact(Some(user_id), revoked))?;
    }
    unit.commit().await?;
    app.members().forget(how.user);
    Ok(StatusCode::NO_CONTENT)
}
