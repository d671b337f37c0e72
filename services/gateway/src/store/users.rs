//! The read model of users and their profiles.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::accounts::email_key;
use super::column;
use super::page::{Page, PageRequest};
use super::viewer::Viewer;
use crate::roles::Role;
use crate::text::text_enum;

text_enum! {
    pub enum UserStatus {
        Active => "active",
        Deactivated => "deactivated",
    }
}

/// A user as the user and admins see it.
#[derive(Clone, Serialize, ToSchema, sqlx::FromRow)]
pub struct User {
    pub id: Uuid,
    #[schema(format = Email)]
    pub email: String,
    pub username: String,
    pub full_name: String,
    pub date_of_birth: NaiveDate,
    /// IANA name of the user's time zone.
    #[schema(examples("Europe/Berlin"))]
    pub time_zone: String,
    /// `true` if the user has verified the e-mail address.
    pub email_verified: bool,
    /// `true` if the user wants reminders.
    pub reminders: bool,
    /// `true` if the user wants announcements of organizers.
    pub announcements: bool,
    pub status: UserStatus,
    pub roles: Vec<Role>,
    pub created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deactivated_at: Option<DateTime<Utc>>,
    /// Number of changes to the account; also its `ETag`.
    pub version: i64,
}

/// The sum of several domain events of one user.
pub struct UserRow {
    pub id: Uuid,
    /// `None` if the row exists already.
    pub created_at: Option<DateTime<Utc>>,
    pub deactivated_at: Option<DateTime<Utc>>,
    pub erased_at: Option<DateTime<Utc>>,
    pub version: i64,
}

pub struct ProfileRow {
    pub user_id: Uuid,
    pub email: String,
    pub username: String,
    pub full_name: String,
    pub date_of_birth: NaiveDate,
    pub time_zone: String,
    pub email_verified: bool,
    pub reminders: bool,
    pub announcements: bool,
    pub version: i64,
}

/// The columns of [`User`].
const COLUMNS: &str = "
        SELECT u.id, p.email, p.username, p.full_name, p.date_of_birth, p.time_zone,
                p.email_verified, p.reminders, p.announcements,
                CASE WHEN u.deactivated_at IS NULL THEN 'active' ELSE 'deactivated' END AS status,
                ARRAY ['member'] || ARRAY (SELECT role FROM roles r WHERE r.user_id = u.id ORDER BY role) AS roles,
                u.created_at, u.deactivated_at, u.version
         FROM users u JOIN profiles p ON p.user_id = u.id";

/// Returns the user, or `None` if `viewer` is not allowed to see the user.
///
/// Also returns `None` while the account or the profile is not yet known, and after the profile was erased.
pub async fn find(pool: &PgPool, id: Uuid, viewer: Viewer) -> sqlx::Result<Option<User>> {
    sqlx::query_as(&format!("{COLUMNS} WHERE u.id = $1 AND (u.id = $2 OR $3)"))
        .bind(id)
        .bind(viewer.user)
        .bind(viewer.sees_all)
        .fetch_optional(pool)
        .await
}

/// The users to list. A field that is `None` does not restrict the list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Prefix of the e-mail address, the username or the full name, without regard to case.
    pub begins: Option<String>,
    pub role: Option<Role>,
    pub status: Option<UserStatus>,
}

/// Returns a page of users, newest first. The caller must have checked that the viewer is an admin.
pub async fn list(pool: &PgPool, filter: &Filter, page: PageRequest<Uuid>) -> sqlx::Result<Page<User>> {
    let begins = filter.begins.as_ref().map(|text| {
        let text = text.to_lowercase();
        let literal = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        format!("{literal}%")
    });
    let rows = sqlx::query_as(&format!(
        "{COLUMNS}
         WHERE ($1::uuid IS NULL OR u.id < $1)
           AND ($2::text IS NULL OR p.email_key LIKE $2 OR p.username LIKE $2 OR lower(p.full_name) LIKE $2)
           AND ($3::text IS NULL OR $3 = 'member'
                OR EXISTS (SELECT FROM roles r WHERE r.user_id = u.id AND r.role = $3))
           AND ($4::bool IS NULL OR (u.deactivated_at IS NULL) = $4)
         ORDER BY u.id DESC LIMIT $5"
    ))
    .bind(page.after)
    .bind(begins)
    .bind(filter.role.map(Role::as_str))
    .bind(filter.status.map(|status| status == UserStatus::Active))
    .bind(page.rows())
    .fetch_all(pool)
    .await?;
    Ok(page.page(rows, |user: &User| user.id))
}

/// Returns `true` if the user exists and is not deactivated.
pub async fn exists(tx: &mut postgres::Tx, id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM users WHERE id = $1 AND deactivated_at IS NULL)")
        .bind(id)
        .fetch_one(&mut **tx)
        .await
}

/// Inserts and updates users. Each user may occur at most once.
pub async fn save(tx: &mut postgres::Tx, rows: &[UserRow]) -> sqlx::Result<()> {
    let (new, changed): (Vec<&UserRow>, Vec<&UserRow>) = rows.iter().partition(|row| row.created_at.is_some());
    if !new.is_empty() {
        sqlx::query(
            "INSERT INTO users (id, created_at, deactivated_at, erased_at, version)
             SELECT * FROM UNNEST($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::bigint[])
             ON CONFLICT (id) DO UPDATE SET
                 created_at = EXCLUDED.created_at, deactivated_at = EXCLUDED.deactivated_at,
                 erased_at = EXCLUDED.erased_at, version = EXCLUDED.version",
        )
        .bind(column(&new, |row| row.id))
        .bind(column(&new, |row| row.created_at))
        .bind(column(&new, |row| row.deactivated_at))
        .bind(column(&new, |row| row.erased_at))
        .bind(column(&new, |row| row.version))
        .execute(&mut **tx)
        .await?;
    }
    if !changed.is_empty() {
        sqlx::query(
            "UPDATE users u SET
                 deactivated_at = coalesce(u.deactivated_at, n.deactivated_at),
                 erased_at = coalesce(u.erased_at, n.erased_at), version = n.version
             FROM UNNEST($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::bigint[])
                  AS n (id, deactivated_at, erased_at, version)
             WHERE u.id = n.id",
        )
        .bind(column(&changed, |row| row.id))
        .bind(column(&changed, |row| row.deactivated_at))
        .bind(column(&changed, |row| row.erased_at))
        .bind(column(&changed, |row| row.version))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Inserts or replaces profiles. Each user may occur at most once.
pub async fn save_profiles(tx: &mut postgres::Tx, rows: &[ProfileRow]) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO profiles (
             user_id, email, email_key, username, full_name, date_of_birth, time_zone, email_verified, reminders,
             announcements, version)
         SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::date[], $7::text[],
                              $8::bool[], $9::bool[], $10::bool[], $11::bigint[])
         ON CONFLICT (user_id) DO UPDATE SET
             email = EXCLUDED.email, email_key = EXCLUDED.email_key, username = EXCLUDED.username,
             full_name = EXCLUDED.full_name, date_of_birth = EXCLUDED.date_of_birth,
             time_zone = EXCLUDED.time_zone, email_verified = EXCLUDED.email_verified,
             reminders = EXCLUDED.reminders, announcements = EXCLUDED.announcements, version = EXCLUDED.version",
    )
    .bind(column(rows, |row| row.user_id))
    .bind(column(rows, |row| row.email.clone()))
    .bind(column(rows, |row| email_key(&row.email)))
    .bind(column(rows, |row| row.username.clone()))
    .bind(column(rows, |row| row.full_name.clone()))
    .bind(column(rows, |row| row.date_of_birth))
    .bind(column(rows, |row| row.time_zone.clone()))
    .bind(column(rows, |row| row.email_verified))
    .bind(column(rows, |row| row.reminders))
    .bind(column(rows, |row| row.announcements))
    .bind(column(rows, |row| row.version))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes the profiles of these users.
pub async fn delete_profiles(tx: &mut postgres::Tx, users: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM profiles WHERE user_id = ANY ($1)")
        .bind(users)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
