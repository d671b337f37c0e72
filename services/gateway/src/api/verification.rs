//! Verification of e-mail addresses.

use axum::extract::State;
use axum::http::StatusCode;
use contracts::links::Purpose;
use contracts::{UserCommand, VerifyEmail};
use messaging::Outgoing;
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{Id, Write};
use super::passwords::verify_link_token;
use super::principal::Anyone;
use crate::app::App;
use crate::error::Error;
use crate::links::{link, mail};
use crate::operations::GATEWAY;
use crate::security::request_cause;
use crate::store::links;
use crate::tokens::TokenError;

/// The token of a link sent by e-mail. Without a token, a link is sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub(super) struct Verification {
    /// Token of the link.
    #[serde(default)]
    #[schema(max_length = 200)]
    token: Option<String>,
}

/// Verify an e-mail address.
///
/// Without a token, a link is sent to your e-mail address. With the token of the link, the address is verified. The
/// token is valid for one day, once, and only for the address that it was sent to. Sending it requires no access token.
#[utoipa::path(
    post, path = "/v1/users/{id}/verification", tag = "users", operation_id = "verifyEmail",
    params(("id" = Uuid, Path)), request_body = Option<Verification>,
    security((), ("bearer" = [])),
    responses(
        (status = NO_CONTENT),
    ),
)]
pub(super) async fn verify(
    State(app): State<App>,
    anyone: Anyone,
    Id(id): Id,
    Write { body, .. }: Write<Verification>,
) -> Result<StatusCode, Error> {
    let Some(text) = body.token else {
        let principal = anyone.0.ok_or(Error::NotSignedIn)?;
        if principal.id != id {
            return Err(Error::NotFound);
        }
        app.limits().account(&id.to_string())?;
        let address = links::address(app.pool(), id).await?.ok_or(Error::NotFound)?;
        if address.email_verified {
            return Ok(StatusCode::NO_CONTENT);
        }
        let link = link(Purpose::VerifyEmail, id);
        let mut unit = app.unit().await?;
        links::add(unit.tx(), &[(Purpose::VerifyEmail, link)]).await?;
        unit.publish(&request_cause(principal.actor()), mail(Purpose::VerifyEmail, &link))?;
        unit.commit().await?;
        return Ok(StatusCode::NO_CONTENT);
    };
    // `email` is the address that the link was sent to, so a later change of the address is not verified by it.
    let (token, email) = verify_link_token(&app, Purpose::VerifyEmail, &text).await?;
    if token.link.user_id != id {
        return Err(Error::Link(TokenError::Invalid));
    }
    let mut unit = app.unit().await?;
    if !links::use_up(unit.tx(), Purpose::VerifyEmail, &token.link).await? {
        return Err(Error::Link(TokenError::Invalid));
    }
    let verify = VerifyEmail { email };
    unit.publish(&request_cause(GATEWAY), Outgoing::<UserCommand>::new(id, verify))?;
    unit.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
