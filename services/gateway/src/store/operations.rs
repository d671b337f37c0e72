//! Operations: requests to other services, and their outcomes.

mod kind;

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::{FieldError, Rejection};
use messaging::ledger::OutboxMessage;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgExecutor, PgPool, Row};
use uuid::Uuid;

use super::column;
use super::page::{Page, PageRequest};
use crate::text::text_enum;

pub use kind::{Kind, Resource, Success};

text_enum! {
    pub enum Status {
        Pending => "pending",
        /// The command was accepted, and its effects are visible in the read models.
        Succeeded => "succeeded",
        /// The command was rejected, and nothing changed.
        Rejected => "rejected",
        /// The command could not be processed, and will not be retried.
        Failed => "failed",
    }
}

/// An operation that is not yet stored.
#[derive(Debug, Clone)]
pub struct NewOperation {
    pub id: Uuid,
    pub kind: Kind,
    /// The user who sent the request.
    pub principal: Option<Uuid>,
    pub resource_id: Uuid,
    pub idempotency: Option<Idempotency>,
    /// Time that the request waits for the outcome.
    pub held: Duration,
    /// The hash of the password, for a sign-up. The credentials are pending until the reply.
    pub password_hash: Option<String>,
}

/// The Idempotency-Key of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Idempotency {
    /// The user, or for anonymous routes the route and the fingerprint, that the key belongs to.
    pub scope: String,
    pub key: String,
    pub fingerprint: [u8; 32],
}

/// An operation in its current state.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    pub id: Uuid,
    pub kind: Kind,
    pub principal: Option<Uuid>,
    pub resource_id: Uuid,
    pub status: Status,
    /// `true` while the request that started it may still wait.
    pub held: bool,
    pub fingerprint: Option<Vec<u8>>,
    /// The result of a query, as JSON.
    pub result: Option<String>,
    /// The reason, if the command was rejected or failed.
    pub rejection: Option<Rejection>,
    pub created_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
}

/// The outcome of an operation, from a reply.
#[derive(Debug, Clone)]
pub struct Completion {
    pub id: Uuid,
    pub outcome: Outcome,
}

#[derive(Debug, Clone)]
pub enum Outcome {
    Accepted {
        effects: Vec<Effect>,
        result: Option<String>,
    },
    Rejected(Rejection),
    Failed(Rejection),
}

/// A message that the read models must have applied before the operation is shown as succeeded.
#[derive(Debug, Clone, Serialize)]
pub struct Effect {
    /// With the topic prefix.
    pub topic: String,
    pub key: Uuid,
    pub sequence: i64,
}

/// `visible` is true if the read models hold every effect. It never becomes false again, because `sequences` only grows.
const COLUMNS: &str = "
    SELECT o.id, o.kind, o.principal, o.resource_id, o.state, o.fingerprint, o.result, o.code, o.detail, o.errors,
           o.created_at, o.completed_at, coalesce(o.held_until > clock_timestamp(), false) AS held,
           o.state = 'accepted' AND NOT EXISTS (
               SELECT FROM jsonb_to_recordset(o.effects) AS e (topic text, key uuid, sequence bigint)
               LEFT JOIN sequences s ON s.topic = e.topic AND s.key = e.key
               WHERE coalesce(s.last, 0) < e.sequence) AS visible
    FROM operations o";

/// Returns the operation with this id, or `None` if it does not exist.
pub async fn find(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<Operation>> {
    sqlx::query(&format!("{COLUMNS} WHERE o.id = $1"))
        .bind(id)
        .fetch_optional(pool)
        .await?
        .map(|row| operation(&row))
        .transpose()
}

/// Returns the operation that was started with this Idempotency-Key, or `None` if there is none.
pub async fn find_repeated(
    executor: impl PgExecutor<'_>,
    idempotency: &Idempotency,
) -> sqlx::Result<Option<Operation>> {
    sqlx::query(&format!("{COLUMNS} WHERE o.scope = $1 AND o.idempotency_key = $2"))
        .bind(&idempotency.scope)
        .bind(&idempotency.key)
        .fetch_optional(executor)
        .await?
        .map(|row| operation(&row))
        .transpose()
}

/// Returns those of these operations that have a visible outcome.
pub async fn settled(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Operation>> {
    let rows = sqlx::query(&format!("{COLUMNS} WHERE o.id = ANY ($1) AND o.state <> 'pending'"))
        .bind(ids)
        .fetch_all(pool)
        .await?;
    let mut operations: Vec<Operation> = rows.iter().map(operation).collect::<sqlx::Result<_>>()?;
    operations.retain(|operation| operation.status != Status::Pending);
    Ok(operations)
}

/// Returns a page of the user's operations without queries, newest first.
pub async fn of_user(pool: &PgPool, user: Uuid, page: PageRequest<Uuid>) -> sqlx::Result<Page<Operation>> {
    let rows = sqlx::query(&format!(
        "{COLUMNS} WHERE o.principal = $1 AND o.kind <> ALL ($4) AND ($2::uuid IS NULL OR o.id < $2)
         ORDER BY o.id DESC LIMIT $3"
    ))
    .bind(user)
    .bind(page.after)
    .bind(page.rows())
    .bind(Kind::queries())
    .fetch_all(pool)
    .await?;
    let operations = rows.iter().map(operation).collect::<sqlx::Result<_>>()?;
    Ok(page.page(operations, |operation: &Operation| operation.id))
}

/// Inserts operations, their messages and their pending credentials in one statement.
///
/// Returns the index in `operations` and the id of the outbox row of each operation that was inserted. The others repeat
/// an Idempotency-Key.
pub async fn insert_batch(
    pool: &PgPool,
    owner: Uuid,
    operations: &[(NewOperation, OutboxMessage)],
) -> sqlx::Result<Vec<(usize, i64)>> {
    // Both inserts are ordered by `ordinal`, and the outbox numbers its rows in the order of insertion, so the two arrays of
    // the result correspond.
    let (ordinals, rows): (Vec<i64>, Vec<i64>) = sqlx::query_as(
        "WITH new AS (
             SELECT * FROM UNNEST(
                 $1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::bytea[], $8::float8[],
                 $9::text[], $10::text[], $11::uuid[], $12::bytea[], $13::text[]) WITH ORDINALITY
                 AS n (id, kind, principal, resource_id, scope, idempotency_key, fingerprint, held, password_hash,
                       topic, key, value, headers, ordinal)),
         inserted AS (
             INSERT INTO operations (
                 id, kind, principal, resource_id, scope, idempotency_key, fingerprint, held_until)
             SELECT id, kind, principal, resource_id, scope, idempotency_key, fingerprint,
                    clock_timestamp() + make_interval(secs => held)
             FROM new ORDER BY ordinal
             ON CONFLICT (scope, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
             RETURNING id),
         pending AS (
             INSERT INTO credentials (user_id, password_hash, operation_id)
             SELECT resource_id, password_hash, id FROM new JOIN inserted USING (id)
             WHERE password_hash IS NOT NULL),
         appended AS (
             INSERT INTO outbox (owner, topic, key, value, headers)
             SELECT $14, topic, key, value, headers FROM new JOIN inserted USING (id) ORDER BY ordinal
             RETURNING id)
         SELECT ARRAY (SELECT ordinal FROM new JOIN inserted USING (id) ORDER BY ordinal),
                ARRAY (SELECT id FROM appended ORDER BY id)",
    )
    .bind(column(operations, |(new, _)| new.id))
    .bind(column(operations, |(new, _)| new.kind.as_str()))
    .bind(column(operations, |(new, _)| new.principal))
    .bind(column(operations, |(new, _)| new.resource_id))
    .bind(column(operations, |(new, _)| scope(new)))
    .bind(column(operations, |(new, _)| key(new)))
    .bind(column(operations, |(new, _)| fingerprint(new)))
    .bind(column(operations, |(new, _)| new.held.as_secs_f64()))
    .bind(column(operations, |(new, _)| new.password_hash.clone()))
    .bind(column(operations, |(_, message)| message.topic.clone()))
    .bind(column(operations, |(_, message)| message.key))
    .bind(column(operations, |(_, message)| {
        message.value.as_ref().map(|value| value.to_vec())
    }))
    .bind(column(operations, |(_, message)| message.headers.to_json()))
    .bind(owner)
    .fetch_one(pool)
    .await?;
    Ok(ordinals
        .into_iter()
        .map(|ordinal| usize::try_from(ordinal - 1).unwrap_or(usize::MAX))
        .zip(rows)
        .collect())
}

/// Inserts an operation that the gateway itself completes in this transaction.
///
/// Returns `false` if the request repeats an Idempotency-Key.
pub async fn insert_completed(tx: &mut postgres::Tx, new: &NewOperation) -> sqlx::Result<bool> {
    let result = sqlx::query(
        "INSERT INTO operations (
             id, kind, principal, resource_id, scope, idempotency_key, fingerprint, state, completed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'accepted', clock_timestamp())
         ON CONFLICT (scope, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING",
    )
    .bind(new.id)
    .bind(new.kind.as_str())
    .bind(new.principal)
    .bind(new.resource_id)
    .bind(scope(new))
    .bind(key(new))
    .bind(fingerprint(new))
    .execute(&mut **tx)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Inserts a pending operation. The caller writes its message and its credentials in the same transaction.
pub async fn insert_pending(tx: &mut postgres::Tx, new: &NewOperation) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO operations (id, kind, principal, resource_id) VALUES ($1, $2, $3, $4)")
        .bind(new.id)
        .bind(new.kind.as_str())
        .bind(new.principal)
        .bind(new.resource_id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Ends the hold of an operation, because its request has ended. A repeated request is no longer refused.
pub async fn release_hold(pool: &PgPool, id: Uuid) -> sqlx::Result<()> {
    sqlx::query("UPDATE operations SET held_until = NULL WHERE id = $1")
        .bind(id)
        .execute(pool)
        .await?;
    Ok(())
}

/// Completes those of these operations that are pending. Returns their ids and kinds.
///
/// Each operation may occur at most once in `completions`.
pub async fn complete(tx: &mut postgres::Tx, completions: &[Completion]) -> sqlx::Result<Vec<(Uuid, Kind)>> {
    let rejection = |completion: &Completion| match &completion.outcome {
        Outcome::Accepted { .. } => None,
        Outcome::Rejected(rejection) | Outcome::Failed(rejection) => Some(rejection.clone()),
    };
    let states = column(completions, |completion| match &completion.outcome {
        Outcome::Accepted { .. } => "accepted",
        Outcome::Rejected(_) => "rejected",
        Outcome::Failed(_) => "failed",
    });
    let effects = column(completions, |completion| match &completion.outcome {
        Outcome::Accepted { effects, .. } => Some(Json(effects.clone())),
        Outcome::Rejected(_) | Outcome::Failed(_) => None,
    });
    let results = column(completions, |completion| match &completion.outcome {
        Outcome::Accepted { result, .. } => result.clone(),
        Outcome::Rejected(_) | Outcome::Failed(_) => None,
    });
    sqlx::query_as(
        "UPDATE operations o SET
             state = n.state, effects = n.effects, result = n.result, code = n.code, detail = n.detail,
             errors = n.errors, completed_at = clock_timestamp()
         FROM UNNEST($1::uuid[], $2::text[], $3::jsonb[], $4::text[], $5::text[], $6::text[], $7::jsonb[])
              AS n (id, state, effects, result, code, detail, errors)
         WHERE o.id = n.id AND o.state = 'pending'
         RETURNING o.id, o.kind",
    )
    .bind(column(completions, |completion| completion.id))
    .bind(states)
    .bind(effects)
    .bind(results)
    .bind(column(completions, |completion| {
        rejection(completion).map(|rejection| rejection.code.into_owned())
    }))
    .bind(column(completions, |completion| {
        rejection(completion).map(|rejection| rejection.detail)
    }))
    .bind(column(completions, |completion| {
        rejection(completion).map(|rejection| Json(rejection.errors))
    }))
    .fetch_all(&mut **tx)
    .await
}

/// Returns the ids of these operations, each with the id of its resource.
pub async fn resources(tx: &mut postgres::Tx, ids: &[Uuid]) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_as("SELECT id, resource_id FROM operations WHERE id = ANY ($1)")
        .bind(ids)
        .fetch_all(&mut **tx)
        .await
}

fn scope(new: &NewOperation) -> Option<String> {
    new.idempotency.as_ref().map(|idempotency| idempotency.scope.clone())
}

fn key(new: &NewOperation) -> Option<String> {
    new.idempotency.as_ref().map(|idempotency| idempotency.key.clone())
}

fn fingerprint(new: &NewOperation) -> Option<Vec<u8>> {
    new.idempotency
        .as_ref()
        .map(|idempotency| idempotency.fingerprint.to_vec())
}

fn operation(row: &PgRow) -> sqlx::Result<Operation> {
    let state: &str = row.try_get("state")?;
    let status = match state {
        "accepted" if row.try_get("visible")? => Status::Succeeded,
        "pending" | "accepted" => Status::Pending,
        "rejected" => Status::Rejected,
        _ => Status::Failed,
    };
    let code: Option<String> = row.try_get("code")?;
    let rejection = match code {
        Some(code) => {
            let detail: Option<String> = row.try_get("detail")?;
            let errors: Option<Json<Vec<FieldError>>> = row.try_get("errors")?;
            let errors = errors.map_or_else(Vec::new, |errors| errors.0);
            Some(Rejection::new(code, detail.unwrap_or_default()).with_errors(errors))
        }
        None => None,
    };
    Ok(Operation {
        id: row.try_get("id")?,
        kind: row.try_get("kind")?,
        principal: row.try_get("principal")?,
        resource_id: row.try_get("resource_id")?,
        status,
        held: row.try_get("held")?,
        fingerprint: row.try_get("fingerprint")?,
        result: row.try_get("result")?,
        rejection,
        created_at: row.try_get("created_at")?,
        // An accepted operation is pending until its effects are visible, so it is not completed before that.
        completed_at: match status {
            Status::Pending => None,
            Status::Succeeded | Status::Rejected | Status::Failed => row.try_get("completed_at")?,
        },
    })
}
