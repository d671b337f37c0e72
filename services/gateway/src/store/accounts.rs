//! Credentials and roles.

use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::roles::{Role, Roles};

/// What signing in is checked against.
#[derive(sqlx::FromRow)]
pub struct Credentials {
    pub user_id: Uuid,
    /// `None`: the account is closed, or has no password yet.
    pub password_hash: Option<String>,
    pub is_open: bool,
}

/// What an e-mail is found by: two that differ in case only are one.
pub fn email_key(email: &str) -> String {
    email.to_lowercase()
}

/// The credentials of the user who has this e-mail now, or had it last.
pub async fn by_email(pool: &PgPool, email: &str) -> sqlx::Result<Option<Credentials>> {
    // A deactivated user's e-mail may be somebody else's by now; that user's credentials are gone.
    sqlx::query_as(
        "SELECT p.user_id, c.password_hash, c.user_id IS NOT NULL AS is_open
         FROM profiles p LEFT JOIN credentials c ON c.user_id = p.user_id AND c.active
         WHERE p.email_key = $1 ORDER BY is_open DESC, p.user_id DESC LIMIT 1",
    )
    .bind(email_key(email))
    .fetch_optional(pool)
    .await
}

/// The roles of a user who may sign in; `None`: there is none such (any more).
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

/// The roles of a user who may sign in, and did so in this session; `None`: that has ended.
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

/// Which roles a user did not have before, and which no more.
#[derive(Debug, Default, PartialEq)]
pub struct RoleChanges {
    pub granted: Vec<Role>,
    pub revoked: Vec<Role>,
}

/// Gives a user exactly these roles.
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

/// The roles that a user was granted.
pub async fn granted(executor: impl PgExecutor<'_>, user: Uuid) -> sqlx::Result<Roles> {
    let roles: Vec<Role> = sqlx::query_scalar("SELECT role FROM roles WHERE user_id = $1")
        .bind(user)
        .fetch_all(executor)
        .await?;
    Ok(roles.into_iter().collect())
}

/// Gives a user one more role. `false`: that user has it.
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

/// The password's hash of a user who may sign in.
pub async fn password_hash(pool: &PgPool, user: Uuid) -> sqlx::Result<Option<String>> {
    let hash: Option<Option<String>> =
        sqlx::query_scalar("SELECT password_hash FROM credentials WHERE user_id = $1 AND active")
            .bind(user)
            .fetch_optional(pool)
            .await?;
    Ok(hash.flatten())
}

/// Sets a new password. `false`: the account is closed, or its password is another one by now than that with the hash
/// `old`, if there is to be one.
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

/// Locks the question whether there is an admin, and answers it.
pub async fn has_admin(tx: &mut postgres::Tx) -> sqlx::Result<bool> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('rollcall.bootstrap_admin'))")
        .execute(&mut **tx)
        .await?;
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM roles WHERE role = 'admin')")
        .fetch_one(&mut **tx)
        .await
}

/// Whether this user has credentials, also pending ones.
pub async fn is_known(tx: &mut postgres::Tx, user: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM credentials WHERE user_id = $1) OR EXISTS (SELECT FROM users WHERE id = $1)",
    )
    .bind(user)
    .fetch_one(&mut **tx)
    .await
}

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

/// Sign-ups that were accepted: their users can sign in from now on. Answers sign-ups and users.
pub async fn activate(tx: &mut postgres::Tx, operations: &[Uuid]) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    sqlx::query_as(
        "UPDATE credentials SET active = true WHERE operation_id = ANY ($1) AND NOT active
         RETURNING operation_id, user_id",
    )
    .bind(operations)
    .fetch_all(&mut **tx)
    .await
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

/// Ends what deactivated users could do, and answers the roles that they had. Also credentials that are pending: the
/// reply may come later.
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

/// Forgets the persons: what is kept of them beside the profile, and what ties operations to them.
pub async fn forget(tx: &mut postgres::Tx, users: &[Uuid]) -> sqlx::Result<()> {
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
