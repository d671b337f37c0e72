//! Signing in.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::Write;
use crate::app::App;
use crate::error::Error;
use crate::problem;
use crate::roles::Role;
use crate::store::accounts;

/// What one signs in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    #[schema(format = Email)]
    email: String,
    #[schema(format = Password)]
    password: String,
}

/// What one is signed in with.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    /// A JWT, to be sent as `Authorization: Bearer`.
    access_token: String,
    #[schema(examples("Bearer"))]
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    user_id: Uuid,
    roles: Vec<Role>,
}

/// Sign in.
///
/// The answer and its time are the same whether the e-mail or the password is wrong.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions", operation_id = "signIn",
    request_body = Credentials,
    responses(
        (status = CREATED, body = Session),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn sign_in(
    State(app): State<App>,
    Write { body, .. }: Write<Credentials>,
) -> Result<(StatusCode, Json<Session>), Error> {
    let known = accounts::by_email(app.pool(), &body.email).await?;
    let (user, hash) = known.map(|known| (known.user_id, known.password_hash)).unzip();
    let is_right = app.hasher().verify(body.password, hash).await?;
    let user = user.filter(|_| is_right).ok_or(Error::WrongCredentials)?;
    // Closed while the password was being hashed.
    let roles = accounts::roles(app.pool(), user)
        .await?
        .ok_or(Error::WrongCredentials)?;
    let token = app.tokens().issue(user, roles);
    let session = Session {
        access_token: token.text,
        token_type: "Bearer",
        expires_in: token.lifetime_seconds,
        user_id: user,
        roles: roles.list(),
    };
    Ok((StatusCode::CREATED, Json(session)))
}
