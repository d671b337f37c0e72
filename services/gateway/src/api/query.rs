//! Queries to other services: a command and its reply over Kafka, like every write.

use std::time::Duration;

use axum::http::HeaderMap;
use contracts::Message;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::extract::preferred_wait;
use super::respond::rejection;
use crate::app::App;
use crate::error::Error;
use crate::operations::Intent;
use crate::principal::Principal;
use crate::store::operations::{Kind, Status};

/// Time that a request waits for the result if the client states no preference. It is longer than that of a write, because
/// a `202` is of no use for a read.
const DEFAULT_WAIT: Duration = Duration::from_secs(10);

/// Headers of every query.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes in the OpenAPI document what `query_wait` reads")]
pub(super) struct QueryHeaders {
    /// `wait=n`: wait up to n seconds for the result, at most 25. The default is 10.
    #[param(rename = "Prefer", example = "wait=20")]
    prefer: Option<String>,
}

/// Returns how long a request with these headers waits for the result of its query.
pub(super) fn query_wait(headers: &HeaderMap) -> Duration {
    preferred_wait(headers).unwrap_or(DEFAULT_WAIT)
}

/// Sends a query to another service and returns the result that the service replies with.
///
/// # Errors
/// Returns [`Error::NoReply`] if no reply arrives within `wait`, [`Error::Rejected`] or [`Error::Failed`] if the service
/// rejects the query or fails, and [`Error::UnreadableReply`] if the result is not what `R` expects.
pub(super) async fn query<M: Message, R: DeserializeOwned>(
    app: &App,
    principal: &Principal,
    kind: Kind,
    query: impl Into<M>,
    wait: Duration,
) -> Result<R, Error> {
    let intent = Intent::<M>::query(kind, principal.actor(), query).wait(wait);
    let operation = app.operations().perform(intent).await?;
    let id = operation.id;
    match operation.status {
        Status::Pending => Err(Error::NoReply { operation: id }),
        Status::Succeeded => {
            serde_json::from_str(&operation.result.unwrap_or_default()).map_err(Error::UnreadableReply)
        }
        Status::Rejected => Err(Error::Rejected {
            operation: id,
            rejection: rejection(operation),
        }),
        Status::Failed => Err(Error::Failed {
            operation: id,
            rejection: rejection(operation),
        }),
    }
}
