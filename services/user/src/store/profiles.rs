use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use contracts::UserProfile;
use postgres::Tx;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

pub(super) async fn find(tx: &mut Tx, users: &BTreeSet<Uuid>) -> Result<BTreeMap<Uuid, UserProfile>, sqlx::Error> {
    if users.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query(
        "SELECT user_id, email, username, full_name, date_of_birth, time_zone, email_verified, reminders, announcements
         FROM profiles WHERE user_id = ANY($1)",
    )
    .bind(list(users))
    .fetch_all(&mut **tx)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get("user_id")?, profile(row)?)))
        .collect()
}

fn profile(row: &PgRow) -> Result<UserProfile, sqlx::Error> {
    Ok(UserProfile {
        email: row.try_get("email")?,
        username: row.try_get("username")?,
        full_name: row.try_get("full_name")?,
        date_of_birth: row.try_get::<NaiveDate, _>("date_of_birth")?.into(),
        time_zone: row.try_get("time_zone")?,
        email_verified: row.try_get("email_verified")?,
        reminders: row.try_get("reminders")?,
        announcements: row.try_get("announcements")?,
    })
}

pub(super) async fn write(tx: &mut Tx, profiles: &[(Uuid, &UserProfile)]) -> Result<(), sqlx::Error> {
    if profiles.is_empty() {
        return Ok(());
    }
    fn column<'a, T>(profiles: &[(Uuid, &'a UserProfile)], of: impl Fn(&'a UserProfile) -> T) -> Vec<T> {
        profiles.iter().map(|(_, profile)| of(profile)).collect()
    }
    sqlx::query(
        "INSERT INTO profiles (user_id, email, username, full_name, date_of_birth, time_zone,
                               email_verified, reminders, announcements)
         SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::date[], $6::text[],
                              $7::boolean[], $8::boolean[], $9::boolean[])
         ON CONFLICT (user_id) DO UPDATE SET
             email = excluded.email, full_name = excluded.full_name, date_of_birth = excluded.date_of_birth,
             time_zone = excluded.time_zone, email_verified = excluded.email_verified,
             reminders = excluded.reminders, announcements = excluded.announcements",
    )
    .bind(profiles.iter().map(|(user, _)| *user).collect::<Vec<_>>())
    .bind(column(profiles, |profile| profile.email.as_str()))
    .bind(column(profiles, |profile| profile.username.as_str()))
    .bind(column(profiles, |profile| profile.full_name.as_str()))
    .bind(column(profiles, |profile| NaiveDate::from(profile.date_of_birth)))
    .bind(column(profiles, |profile| profile.time_zone.as_str()))
    .bind(column(profiles, |profile| profile.email_verified))
    .bind(column(profiles, |profile| profile.reminders))
    .bind(column(profiles, |profile| profile.announcements))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn erase(tx: &mut Tx, users: &BTreeSet<Uuid>) -> Result<(), sqlx::Error> {
    if users.is_empty() {
        return Ok(());
    }
    sqlx::query("DELETE FROM profiles WHERE user_id = ANY($1)")
        .bind(list(users))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn list(users: &BTreeSet<Uuid>) -> Vec<Uuid> {
    users.iter().copied().collect()
}
