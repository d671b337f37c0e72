//! The first admin.

use anyhow::Context;
use contracts::{CreateUser, Date};
use messaging::{Cause, Publisher, Unit};
use postgres::Postgres;
use uuid::Uuid;

use crate::admins::{insert_sign_up, sign_up_command, sign_up_operation};
use crate::config::BootstrapAdmin;
use crate::operations::GATEWAY;
use crate::passwords::Hasher;
use crate::store::accounts;
use crate::store::operations::Kind;

/// Signs the first admin up if no admin exists.
///
/// The role is written together with the pending credentials. If the sign-up is rejected, both are deleted, and the next
/// start tries again.
///
/// # Errors
/// Returns an error if the database fails or the password cannot be hashed.
pub async fn first_admin(
    admin: &BootstrapAdmin,
    ledger: &Postgres,
    publisher: &Publisher<Postgres>,
    hasher: &Hasher,
) -> anyhow::Result<()> {
    let mut unit = Unit::begin(ledger, publisher)
        .await
        .context("cannot begin a transaction")?;
    // `has_admin` holds a lock, so gateways that start at the same time create only one admin.
    if accounts::has_admin(unit.tx()).await? {
        unit.rollback().await;
        return Ok(());
    }
    let operation = sign_up_operation(Kind::BootstrapAdmin, Uuid::now_v7());
    let password_hash = hasher.hash(admin.password.clone()).await?;
    insert_sign_up(unit.tx(), &operation, Some(&password_hash)).await?;
    let create = CreateUser {
        email: admin.email.clone(),
        username: admin.username.clone(),
        full_name: "Administrator".to_owned(),
        // A placeholder: a profile needs a birth date, and this account belongs to a function.
        date_of_birth: Date::from_ymd(1970, 1, 1).expect("1970-01-01 is a valid date"),
        time_zone: "UTC".to_owned(),
    };
    let cause = Cause::origin(operation.id, Some(GATEWAY), opentelemetry::Context::new());
    unit.publish(&cause, sign_up_command(publisher, &operation, create))?;
    unit.commit().await?;
    tracing::info!(
        operation = %operation.id,
        "no admin exists; signing up the first one in operation {}",
        operation.id
    );
    Ok(())
}
