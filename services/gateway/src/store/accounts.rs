//! Credentials and roles.

use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::roles::{Role, Roles};

/// What signing in is checked against.
#[derive(Debug, sqlx::FromRow)]
pub struct Credentials {
    pub user_id: Uuid,
    pub password_hash: String,
}

/// What an e-mail is found by: two that differ in case only are one.
pub fn email_key(email: &str) -> String {
    email.to_lowercase()
}

/// The credentials of the user who has this e-mail now.
pub async fn by_email(pool: &PgPool, email: &str) -> sqlx::Result<Option<Credentials>> {
    // A deactivated user's e-mail may be somebody else's by now; that user's credentials are gone.
    sqlx::query_as(
        "SELECT c.user_id, c.password_hash
         FROM profiles p JOIN credentials c ON c.user_id = p.user_id
         WHERE p.email_key = $1 AND c.active ORDER BY c.user_id DESC LIMIT 1",
    )
    .bind(email_key(email))
    .fetch_optional(pool)
    .await
}

/// The roles of a user who may sign in; `None`: there is none such (any more).
pub async fn roles(pool: &PgPool, user: Uuid) -> sqlx::Result<Option<Roles>> {
    let rows: Vec<Option<Role>> = sqlx::query_scalar(
        "SELECT r.role FROM credentials c LEFT JOIN roles r ON r.user_id = c.user_id
         WHERE c.user_id = $1 AND c.active",
    )
    .bind(user)
    .fetch_all(pool)
    .await?;
    Ok((!rows.is_empty()).then(|| rows.into_iter().flatten().collect()))
}

/// Gives a user exactly these roles.
pub async fn set_roles(
    tx: &mut postgres::Tx,
    user: Uuid,
    roles: impl IntoIterator<Item = Role>,
    granted_by: Option<Uuid>,
) -> sqlx::Result<()> {
    let roles: Vec<&str> = roles.into_iter().map(Role::as_str).collect();
    sqlx::query("DELETE FROM roles WHERE user_id = $1 AND role <> ALL ($2)")
        .bind(user)
        .bind(&roles)
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "INSERT INTO roles (user_id, role, granted_by) SELECT $1, role, $3 FROM UNNEST($2::text[]) AS n (role)
         ON CONFLICT DO NOTHING",
    )
    .bind(user)
    .bind(&roles)
    .bind(granted_by)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Locks the question whether there is an admin, and answers it.
pub async fn has_admin(tx: &mut postgres::Tx) -> sqlx::Result<bool> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('rollcall.bootstrap_admin'))")
        .execute(&mut **tx)
        .await?;
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM roles WHERE role = 'admin')")
        .fetch_one(&mut **tx)
        .await
}

pub async fn add_pending(
    executor: impl PgExecutor<'_>,
    user: Uuid,
    password_hash: &str,
    operation: Uuid,
) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO credentials (user_id, password_hash, operation_id) VALUES ($1, $2, $3)")
        .bind(user)
        .bind(password_hash)
        .bind(operation)
        .execute(executor)
        .await?;
    Ok(())
}

/// Sign-ups that were accepted: their users can sign in from now on.
pub async fn activate(tx: &mut postgres::Tx, operations: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query("UPDATE credentials SET active = true WHERE operation_id = ANY ($1) AND NOT active")
        .bind(operations)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Sign-ups that came to nothing: what was written in advance goes.
pub async fn discard(tx: &mut postgres::Tx, operations: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query(
        "WITH gone AS (
             DELETE FROM credentials WHERE operation_id = ANY ($1) AND NOT active RETURNING user_id)
         DELETE FROM roles USING gone WHERE roles.user_id = gone.user_id",
    )
    .bind(operations)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Ends what deactivated users could do. Also credentials that are pending: the reply may come later.
pub async fn close(tx: &mut postgres::Tx, users: &[Uuid]) -> sqlx::Result<()> {
    for statement in [
        "DELETE FROM credentials WHERE user_id = ANY ($1)",
        "DELETE FROM roles WHERE user_id = ANY ($1)",
    ] {
        sqlx::query(statement).bind(users).execute(&mut **tx).await?;
    }
    Ok(())
}
