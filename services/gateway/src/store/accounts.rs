//! Credentials and roles.

use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::roles::{Role, Roles};

/// The credentials that a sign-in is checked against.
#[derive(sqlx::FromRow)]
pub struct Credentials {
    pub user_id: Uuid,
    /// `None` if the account is closed or has no password yet.
    pub password_hash: Option<String>,
    pub is_open: bool,
}

/// Returns the key that an e-mail address is found by. Addresses that differ only in case have the same key.
pub fn email_key(email: &str) -> String {
    email.to_lowercase()
}

/// Returns the credentials of the user who has this e-mail address now or had it last, or `None` if no user had it.
pub async fn by_email(pool: &PgPool, email: &str) -> sqlx::Result<Option<Credentials>> {
    // The address of a deactivated user, who has no credentials, may belong to another user now.
    sqlx::query_as(
        "SELECT p.user_id, c.password_hash, c.user_id IS NOT NULL AS is_open
         FROM profiles p LEFT JOIN credentials c ON c.user_id = p.user_id AND c.active
         WHERE p.email_key = $1 ORDER BY is_open DESC, p.user_id DESC LIMIT 1",
    )
    .bind(email_key(email))
    .fetch_optional(pool)
    .await
}

/// Returns the roles of a user, or `None` if the user does not exist or is not allowed to sign in.
pub async fn roles(executor: impl PgExecutor<'_>, user: Uuid) -> sqlx::Result<Option<Roles>> {
    let rows: Vec<Option<Role>> = sqlx::query_scalar(
        "SELECT r.role FROM credentials c LEFT JOIN roles r ON r.user_id = c.user_id
         WHERE c.user_id = $1 AND c.active",
    )
    .bind(user)
    .fetch_all(executor)
    .await?;
    Ok((!rows.is_empty()).then(|| rows.into_iter().flatten().collect()))
}

/// Returns the roles of a user, or `None` if the user is not allowed to sign in or the session has ended.
pub async fn roles_in_session(pool: &PgPool, user: Uuid, session: Uuid) -> sqlx::Result<Option<Roles>> {
    let rows: Vec<Option<Role>> = sqlx::query_scalar(
        "SELECT r.role
         FROM credentials c
         JOIN session_families f ON f.user_id = c.user_id AND f.id = $2
         LEFT JOIN roles r ON r.user_id = c.user_id
         WHERE c.user_id = $1 AND c.active",
    )
    .bind(user)
    .bind(session)
    .fetch_all(pool)
    .await?;
    Ok((!rows.is_empty()).then(|| rows.into_iter().flatten().collect()))
}

/// The difference between the old and the new roles of a user.
#[derive(Debug, Default, PartialEq)]
pub struct RoleChanges {
    pub granted: Vec<Role>,
    pub revoked: Vec<Role>,
}

/// Replaces the roles of a user by these and returns the difference.
pub async fn set_roles(
    tx: &mut postgres::Tx,
    user: Uuid,
    roles: impl IntoIterator<Item = Role>,
    granted_by: Option<Uuid>,
) -> sqlx::Result<RoleChanges> {
    let roles: Vec<&str> = roles.into_iter().map(Role::as_str).collect();
    let revoked = sqlx::query_scalar("DELETE FROM roles WHERE user_id = $1 AND role <> ALL ($2) RETURNING role")
        .bind(user)
        .bind(&roles)
        .fetch_all(&mut **tx)
        .await?;
    let granted = sqlx::query_scalar(
        "INSERT INTO roles (user_id, role, granted_by) SELECT $1, role, $3 FROM UNNEST($2::text[]) AS n (role)
         ON CONFLICT DO NOTHING RETURNING role",
    )
    .bind(user)
    .bind(&roles)
    .bind(granted_by)
    .fetch_all(&mut **tx)
    .await?;
    Ok(RoleChanges { granted, revoked })
}

/// Returns the roles that a user was granted.
pub async fn granted(executor: impl PgExecutor<'_>, user: Uuid) -> sqlx::Result<Roles> {
    let roles: Vec<Role> = sqlx::query_scalar("SELECT role FROM roles WHERE user_id = $1")
        .bind(user)
        .fetch_all(executor)
        .await?;
    Ok(roles.into_iter().collect())
}

/// Grants a user one more role. Returns `false` if the user had it already.
pub async fn add_role(tx: &mut postgres::Tx, user: Uuid, role: Role, granted_by: Option<Uuid>) -> sqlx::Result<bool> {
    let granted =
        sqlx::query("INSERT INTO roles (user_id, role, granted_by) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(user)
            .bind(role.as_str())
            .bind(granted_by)
            .execute(&mut **tx)
            .await?;
    Ok(granted.rows_affected() == 1)
}

/// Returns the password hash of a user, or `None` if the user is not allowed to sign in or has no password.
pub async fn password_hash(pool: &PgPool, user: Uuid) -> sqlx::Result<Option<String>> {
    let hash: Option<Option<String>> =
        sqlx::query_scalar("SELECT password_hash FROM credentials WHERE user_id = $1 AND active")
            .bind(user)
            .fetch_optional(pool)
            .await?;
    Ok(hash.flatten())
}

/// Sets a new password hash.
///
/// Returns `false` if the account is closed, or if `old` is given and is not the current hash.
pub async fn set_password(tx: &mut postgres::Tx, user: Uuid, hash: &str, old: Option<&str>) -> sqlx::Result<bool> {
    let set = sqlx::query(
        "UPDATE credentials SET password_hash = $2
         WHERE user_id = $1 AND active AND ($3::text IS NULL OR password_hash = $3)",
    )
    .bind(user)
    .bind(hash)
    .bind(old)
    .execute(&mut **tx)
    .await?;
    Ok(set.rows_affected() == 1)
}

/// Returns `true` if an admin exists.
///
/// Holds an advisory lock until the transaction ends so that concurrent callers take turns.
pub async fn has_admin(tx: &mut postgres::Tx) -> sqlx::Result<bool> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('rollcall.bootstrap_admin'))")
        .execute(&mut **tx)
        .await?;
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM roles WHERE role = 'admin')")
        .fetch_one(&mut **tx)
        .await
}

/// Returns `true` if this user exists or has credentials, even pending ones.
pub async fn is_known(tx: &mut postgres::Tx, user: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM credentials WHERE user_id = $1) OR EXISTS (SELECT FROM users WHERE id = $1)",
    )
    .bind(user)
    .fetch_one(&mut **tx)
    .await
}

/// Inserts the pending credentials of a sign-up.
pub async fn add_pending(
    executor: impl PgExecutor<'_>,
    user: Uuid,
    password_hash: Option<&str>,
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

/// Activates the pending credentials of these sign-ups so that their users may sign in.
///
/// Returns the operation and the user of each sign-up whose credentials were pending.
pub async fn activate(tx: &mut postgres::Tx, operations: &[Uuid]) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    sqlx::query_as(
        "UPDATE credentials SET active = true WHERE operation_id = ANY ($1) AND NOT active
         RETURNING operation_id, user_id",
    )
    .bind(operations)
    .fetch_all(&mut **tx)
    .await
}

/// Deletes the pending credentials of these sign-ups, and the roles that were written with them.
pub async fn delete_pending(tx: &mut postgres::Tx, operations: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query(
        "WITH deleted AS (
             DELETE FROM credentials WHERE operation_id = ANY ($1) AND NOT active RETURNING user_id)
         DELETE FROM roles USING deleted WHERE roles.user_id = deleted.user_id",
    )
    .bind(operations)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes the credentials, links and roles of deactivated users, and returns the roles.
///
/// Pending credentials are deleted as well, because the reply to the sign-up may arrive later.
pub async fn close(tx: &mut postgres::Tx, users: &[Uuid]) -> sqlx::Result<Vec<(Uuid, Role)>> {
    for statement in [
        "DELETE FROM credentials WHERE user_id = ANY ($1)",
        "DELETE FROM link_nonces WHERE user_id = ANY ($1)",
    ] {
        sqlx::query(statement).bind(users).execute(&mut **tx).await?;
    }
    sqlx::query_as("DELETE FROM roles WHERE user_id = ANY ($1) RETURNING user_id, role")
        .bind(users)
        .fetch_all(&mut **tx)
        .await
}

/// Erases personal data outside the profiles and removes the link between these users and their operations.
pub async fn erase(tx: &mut postgres::Tx, users: &[Uuid]) -> sqlx::Result<()> {
    for statement in [
        "UPDATE notifications SET reason = NULL WHERE user_id = ANY ($1) AND reason IS NOT NULL",
        "UPDATE operations SET principal = NULL, scope = NULL, idempotency_key = NULL, fingerprint = NULL,
                               detail = NULL, errors = NULL, result = NULL
         WHERE principal = ANY ($1)",
    ] {
        sqlx::query(statement).bind(users).execute(&mut **tx).await?;
    }
    Ok(())
}
