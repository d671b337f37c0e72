//! The first admin.

use anyhow::Context;
use contracts::{CreateUser, Date, UserCommand, topics};
use messaging::{Cause, Outgoing, Publisher, Unit};
use postgres::Postgres;
use uuid::Uuid;

use crate::config::BootstrapAdmin;
use crate::operations::GATEWAY;
use crate::passwords::Hasher;
use crate::roles::Role;
use crate::store::accounts;
use crate::store::operations::{Kind, NewOperation, insert_pending};

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
    // `has_admin` holds a lock, so that gateways that start at the same time create only one admin.
    if accounts::has_admin(unit.tx()).await? {
        unit.rollback().await;
        return Ok(());
    }
    let user = Uuid::now_v7();
    let operation = NewOperation {
        id: Uuid::now_v7(),
        kind: Kind::BootstrapAdmin,
        principal: None,
        resource_id: user,
        idempotency: None,
        held: std::time::Duration::ZERO,
        password_hash: None,
    };
    let password_hash = hasher.hash(admin.password.clone()).await?;
    insert_pending(unit.tx(), &operation).await?;
    accounts::add_pending(&mut **unit.tx(), user, Some(&password_hash), operation.id).await?;
    accounts::set_roles(unit.tx(), user, [Role::Admin], None).await?;
    let create = CreateUser {
        email: admin.email.clone(),
        username: admin.username.clone(),
        full_name: "Administrator".to_owned(),
        // A placeholder: a profile needs a birth date, and this account belongs to a function.
        date_of_birth: Date::from_ymd(1970, 1, 1).expect("1970-01-01 is a valid date"),
        time_zone: "UTC".to_owned(),
    };
    let cause = Cause::origin(operation.id, Some(GATEWAY), opentelemetry::Context::new());
    let command = Outgoing::<UserCommand>::new(user, create)
        .id(operation.id)
        .reply_to(publisher.topic_name(&topics::GATEWAY_REPLIES));
    unit.publish(&cause, command)?;
    unit.commit().await?;
    tracing::info!(
        operation = %operation.id,
        "no admin exists; signing up the first one in operation {}",
        operation.id
    );
    Ok(())
}
