//! Signing in, staying so, and signing out.

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

use super::extract::{Nothing, Write};
use super::principal::Member;
use crate::app::App;
use crate::error::Error;
use crate::roles::{Role, Roles};
use crate::security::{fact, request};
use crate::store::sessions::Rotation;
use crate::store::{accounts, sessions};
use crate::tokens::{Bearer, TokenError};

/// How long a refresh waits for its second try while another request holds its session; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// For how long it tries. A refresh holds its session for a few statements, so more means that the database is slow.
const LONGEST_TURN: Duration = Duration::from_secs(2);

/// What one signs in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "email": "ada@example.org", "password": "a long passphrase of yours" }))]
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
    /// Gets the next session, once.
    refresh_token: String,
    /// Seconds.
    refresh_expires_in: u64,
    user_id: Uuid,
    roles: Vec<Role>,
}

/// A refresh token, and what is kept of it. 256 bits of chance need no slow hash.
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
/// The answer and its time are the same whether the e-mail or the password is wrong.
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
    let right = known.as_ref().map(|known| known.user_id).zip(hash).filter(|_| is_right);
    let Some((user, hash)) = right else {
        let reason = match &known {
            None => SignInFailure::UnknownUser,
            Some(known) if !known.is_open => SignInFailure::ClosedAccount,
            Some(_) => SignInFailure::WrongPassword,
        };
        let user_id = known.map(|known| known.user_id);
        app.notes().note(user_id, None, SignInFailed { user_id, reason });
        return Err(Error::WrongCredentials);
    };
    // Closed while the password was being hashed.
    let roles = accounts::roles(app.pool(), user)
        .await?
        .ok_or(Error::WrongCredentials)?;
    let bearer = Bearer {
        user,
        session: Uuid::now_v7(),
    };
    let refresh = RefreshToken::new();
    let lifetime = app.tokens().refresh_lifetime();
    // The same once more, of the password: who was signed in by the old one would stay so.
    match sessions::begin(app.pool(), user, &hash, bearer.session, refresh.hash, lifetime).await? {
        true => {}
        false => return Err(Error::WrongCredentials),
    }
    Ok((StatusCode::CREATED, Json(session(&app, bearer, roles, &refresh))))
}

/// What keeps one signed in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "refresh_token": "3qzXJ0zVtM1p2mJXcZ6dYx0R4o3JcB2r0nq8hN1yLkE" }))]
pub(super) struct Refresh {
    #[schema(max_length = 200)]
    refresh_token: String,
}

/// Go on with a session: the refresh token is exchanged for a new one.
///
/// One that was used before ends the session: somebody else has it. Of several requests that send one token at the
/// same time, one gets the next session, and the others end it.
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
    let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
    loop {
        if let Some(session) = exchange(&app, &old, &new).await? {
            return Ok((StatusCode::CREATED, Json(session)));
        }
        if begun.elapsed() >= LONGEST_TURN {
            // No verdict on the token: a client that sends it again learns the outcome.
            return Err(Error::Busy);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// Exchanges a refresh token in one transaction. Returns `None` if another request exchanges a token of the same
/// session at this moment; nothing has changed then, and the connection is back in the pool.
async fn exchange(app: &App, old: &RefreshToken, new: &RefreshToken) -> Result<Option<Session>, Error> {
    let refused = |refused| Err(Error::RefreshToken(refused));
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
            unit.publish(&request(Actor::User(user)), fact(Some(user), revoked))?;
            unit.commit().await?;
            app.members().forget(user);
            return refused(TokenError::Invalid);
        }
        Rotation::Expired => return refused(TokenError::Expired),
        Rotation::Unknown => return refused(TokenError::Invalid),
    };
    let Some(roles) = accounts::roles(&mut **unit.tx(), bearer.user).await? else {
        return refused(TokenError::Invalid);
    };
    unit.commit().await?;
    Ok(Some(session(app, bearer, roles, new)))
}

/// Sign out: this session's tokens are worth nothing any more.
#[utoipa::path(
    delete, path = "/v1/sessions/current", tag = "sessions", operation_id = "signOut",
    security(("bearer" = [])),
    responses(
        (status = NO_CONTENT),
    ),
)]
pub(super) async fn sign_out(State(app): State<App>, member: Member, _: Write<Nothing>) -> Result<StatusCode, Error> {
    let mut unit = app.unit().await?;
    if sessions::end(unit.tx(), member.session).await? {
        let revoked = SessionFamilyRevoked {
            user_id: member.id,
            family_id: member.session,
            reason: RevocationReason::SignedOut,
        };
        unit.publish(&request(member.actor()), fact(Some(member.id), revoked))?;
    }
    unit.commit().await?;
    app.members().forget(member.id);
    Ok(StatusCode::NO_CONTENT)
}
