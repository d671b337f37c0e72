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
use crate::store::operations::{Kind, NewOperation, begin_in};

/// Signs the first admin up, where there is no admin. The role is written with the pending credentials, and goes
/// with them where the sign-up is refused; then the next start tries again.
pub async fn first_admin(
    admin: &BootstrapAdmin,
    ledger: &Postgres,
    publisher: &Publisher<Postgres>,
    hasher: &Hasher,
) -> anyhow::Result<()> {
    let mut unit = Unit::begin(ledger, publisher)
        .await
        .context("the database does not answer")?;
    // Locked: gateways that start together make one.
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
    begin_in(unit.tx(), &operation).await?;
    accounts::add_pending(&mut **unit.tx(), user, Some(&password_hash), operation.id).await?;
    accounts::set_roles(unit.tx(), user, [Role::Admin], None).await?;
    let create = CreateUser {
        email: admin.email.clone(),
        username: admin.username.clone(),
        full_name: "Administrator".to_owned(),
        // Nobody's: a profile has one, and this account is a function.
        date_of_birth: Date::from_ymd(1970, 1, 1).expect("there was such a day"),
        time_zone: "UTC".to_owned(),
    };
    let cause = Cause::origin(operation.id, Some(GATEWAY), opentelemetry::Context::new());
    let command = Outgoing::<UserCommand>::new(user, create)
        .id(operation.id)
        .reply_to(publisher.topic_name(&topics::GATEWAY_REPLIES));
    unit.publish(&cause, command)?;
    unit.commit().await?;
    tracing::info!(operation = %operation.id, "there was no admin: the first one is being signed up");
    Ok(())
}
