//! Questions to other services: request and reply over Kafka, like everything else.

use std::time::Duration;

use contracts::Message;
use utoipa::IntoParams;
use uuid::Uuid;

use super::answer::rejection;
use crate::app::App;
use crate::error::Error;
use crate::operations::Intent;
use crate::principal::Principal;
use crate::store::operations::{Kind, Status};

/// How long an answer is waited for if the client does not say: it is a read, and there is no use in a `202`.
pub(super) const WAIT: Duration = Duration::from_secs(10);

/// Headers of every question.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "says in the document what `asked_wait` reads")]
pub(super) struct AnswerHeaders {
    /// `wait=n`: wait so many seconds for the answer, at most 25; else 10.
    #[param(rename = "Prefer", example = "wait=20")]
    prefer: Option<String>,
}

/// The answer: JSON, as the service says it.
pub(super) async fn ask<M: Message>(
    app: &App,
    principal: &Principal,
    kind: Kind,
    question: M,
    wait: Duration,
) -> Result<String, Error> {
    let id = Uuid::now_v7();
    let intent = Intent {
        id,
        kind,
        actor: principal.actor(),
        key: id,
        command: question,
        resource_id: id,
        expected_version: None,
        password_hash: None,
        idempotency: None,
        wait,
    };
    let operation = app.operations().perform(intent).await?;
    let id = operation.id;
    match operation.status {
        Status::Pending => Err(Error::NoAnswer { operation: id }),
        Status::Succeeded => Ok(operation.result.unwrap_or_default()),
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
