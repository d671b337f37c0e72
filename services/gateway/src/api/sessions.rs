//! Signing in, refreshing a session, and signing out.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::{Actor, RevocationReason, SessionFamilyRevoked, SignInFailed, SignInFailure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::{EmptyBody, Write};
use super::principal::Member;
use crate::app::App;
use crate::error::Error;
use crate::roles::{Role, Roles};
use crate::security::{request_cause, security_fact};
use crate::store::sessions::Rotation;
use crate::store::{accounts, sessions};
use crate::tokens::{Bearer, TokenError};

/// Pause before the second attempt of a refresh, while another request holds the lock of its session. The pause doubles
/// after each attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Time after which a refresh stops trying. A refresh holds the lock for a few statements only, so a longer wait means that
/// the database is slow.
const MAX_REFRESH_TIME: Duration = Duration::from_secs(2);

/// Credentials of an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "email": "ada@example.org", "password": "a long passphrase of yours" }))]
pub(super) struct Credentials {
    #[schema(format = Email)]
    email: String,
    #[schema(format = Password)]
    password: String,
}

/// A session: an access token, and a refresh token for the next session.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    /// A JWT. Send it as `Authorization: Bearer`.
    access_token: String,
    #[schema(examples("Bearer"))]
    token_type: &'static str,
    /// Lifetime of the access token, in seconds.
    expires_in: u64,
    /// Exchanges this session for the next one. It can be used once.
    refresh_token: String,
    /// Lifetime of the refresh token, in seconds.
    refresh_expires_in: u64,
    user_id: Uuid,
    roles: Vec<Role>,
}

/// A refresh token and its hash, which is all that the database stores. SHA-256 is sufficient, because the token has 256
/// random bits.
struct RefreshToken {
    text: String,
    hash: sessions::Hash,
}

impl RefreshToken {
    fn new() -> Self {
        Self::from_text(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
    }

    fn from_text(text: String) -> Self {
        let hash = Sha256::digest(&text).into();
        Self { text, hash }
    }
}

fn session(app: &App, bearer: Bearer, roles: Roles, refresh: &RefreshToken) -> Session {
    let access = app.tokens().issue(bearer, roles);
    Session {
        access_token: access.text,
        token_type: "Bearer",
        expires_in: access.lifetime_seconds,
        refresh_token: refresh.text.clone(),
        refresh_expires_in: app.tokens().refresh_lifetime().as_secs(),
        user_id: bearer.user,
        roles: roles.list(),
    }
}

/// Sign in.
///
/// The response and its time do not depend on whether the e-mail address or the password is wrong.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions", operation_id = "signIn",
    request_body = Credentials,
    responses(
        (status = CREATED, body = Session),
    ),
)]
pub(super) async fn sign_in(
    State(app): State<App>,
    Write { body, .. }: Write<Credentials>,
) -> Result<(StatusCode, Json<Session>), Error> {
    app.limits().account(&body.email)?;
    let known = accounts::by_email(app.pool(), &body.email).await?;
    let hash = known.as_ref().and_then(|known| known.password_hash.clone());
    let is_right = app.hasher().verify(body.password, hash.clone()).await?;
    let account = known.as_ref().map(|known| known.user_id).zip(hash).filter(|_| is_right);
    let Some((user, hash)) = account else {
        let reason = match &known {
            None => SignInFailure::UnknownUser,
            Some(known) if !known.is_open => SignInFailure::ClosedAccount,
            Some(_) => SignInFailure::WrongPassword,
        };
        let user_id = known.map(|known| known.user_id);
        app.security_log()
            .record(user_id, None, SignInFailed { user_id, reason });
        return Err(Error::WrongCredentials);
    };
    // The account may have been deactivated while the password was hashed.
    let roles = accounts::roles(app.pool(), user)
        .await?
        .ok_or(Error::WrongCredentials)?;
    let bearer = Bearer {
        user,
        session: Uuid::now_v7(),
    };
    let refresh = RefreshToken::new();
    let lifetime = app.tokens().refresh_lifetime();
    // The session begins only if the password is still the same, because a session of the old password would outlive it.
    if !sessions::begin(app.pool(), user, &hash, bearer.session, refresh.hash, lifetime).await? {
        return Err(Error::WrongCredentials);
    }
    Ok((StatusCode::CREATED, Json(session(&app, bearer, roles, &refresh))))
}

/// The refresh token of a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "refresh_token": "3qzXJ0zVtM1p2mJXcZ6dYx0R4o3JcB2r0nq8hN1yLkE" }))]
pub(super) struct Refresh {
    #[schema(max_length = 200)]
    refresh_token: String,
}

/// Refresh a session: exchange the refresh token for a new access token and a new refresh token.
///
/// A refresh token that was already used ends the session, because it may have been stolen. If several requests send the
/// same token at the same time, one receives the next session, and the others end it.
#[utoipa::path(
    post, path = "/v1/sessions/refresh", tag = "sessions", operation_id = "refreshSession",
    request_body = Refresh,
    responses(
        (status = CREATED, body = Session),
    ),
)]
pub(super) async fn refresh(
    State(app): State<App>,
    Write { body, .. }: Write<Refresh>,
) -> Result<(StatusCode, Json<Session>), Error> {
    let (old, new) = (RefreshToken::from_text(body.refresh_token), RefreshToken::new());
    let (started, mut pause) = (Instant::now(), FIRST_PAUSE);
    loop {
        if let Some(session) = exchange(&app, &old, &new).await? {
            return Ok((StatusCode::CREATED, Json(session)));
        }
        if started.elapsed() >= MAX_REFRESH_TIME {
            // The token has not been checked, so the client can send it again.
            return Err(Error::Busy);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// Exchanges a refresh token in one transaction. Returns `None` if another request exchanges a token of the same
/// session at this moment; nothing has changed then, and the connection is back in the pool.
async fn exchange(app: &App, old: &RefreshToken, new: &RefreshToken) -> Result<Option<Session>, Error> {
    let rejected = |error| Err(Error::RefreshToken(error));
    let mut unit = app.unit().await?;
    let rotation = sessions::rotate(unit.tx(), old.hash, new.hash, app.tokens().refresh_lifetime()).await?;
    let bearer = match rotation {
        Rotation::Rotated { user, family } => Bearer { user, session: family },
        Rotation::Locked => {
            unit.rollback().await;
            return Ok(None);
        }
        Rotation::Reused { user, family } => {
            let revoked = SessionFamilyRevoked {
                user_id: user,
                family_id: family,
                reason: RevocationReason::TokenReused,
            };
            unit.publish(&request_cause(Actor::User(user)), security_fact(Some(user), revoked))?;
            unit.commit().await?;
            app.principals().invalidate(user);
            return rejected(TokenError::Invalid);
        }
        Rotation::Expired => return rejected(TokenError::Expired),
        Rotation::Unknown => return rejected(TokenError::Invalid),
    };
    let Some(roles) = accounts::roles(&mut **unit.tx(), bearer.user).await? else {
        return rejected(TokenError::Invalid);
    };
    unit.commit().await?;
    Ok(Some(session(app, bearer, roles, new)))
}

/// Sign out. The tokens of this session become invalid.
#[utoipa::path(
    delete, path = "/v1/sessions/current", tag = "sessions", operation_id = "signOut",
    security(("bearer" = [])),
    responses(
        (status = NO_CONTENT),
    ),
)]
pub(super) async fn sign_out(State(app): State<App>, member: Member, _: Write<EmptyBody>) -> Result<StatusCode, Error> {
    let mut unit = app.unit().await?;
    if sessions::end(unit.tx(), member.session).await? {
        let revoked = SessionFamilyRevoked {
            user_id: member.id,
            family_id: member.session,
            reason: RevocationReason::SignedOut,
        };
        unit.publish(&request_cause(member.actor()), security_fact(Some(member.id), revoked))?;
    }
    unit.commit().await?;
    app.principals().invalidate(member.id);
    Ok(StatusCode::NO_CONTENT)
}
