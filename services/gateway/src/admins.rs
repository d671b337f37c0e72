//! The sign-up of admins, by configuration or by an ops command.

use std::time::Duration;

use contracts::{CreateUser, UserCommand, topics};
use messaging::{Outgoing, Publisher};
use postgres::Postgres;
use uuid::Uuid;

use crate::roles::Role;
use crate::store::accounts;
use crate::store::operations::{Kind, NewOperation, insert_pending};

/// Returns the operation that signs a new admin up.
pub(crate) fn sign_up_operation(kind: Kind, user: Uuid) -> NewOperation {
    NewOperation {
        id: Uuid::now_v7(),
        kind,
        principal: None,
        resource_id: user,
        idempotency: None,
        held: Duration::ZERO,
        password_hash: None,
    }
}

/// Inserts the operation, the pending credentials and the role of an admin.
pub(crate) async fn insert_sign_up(
    tx: &mut postgres::Tx,
    operation: &NewOperation,
    password_hash: Option<&str>,
) -> sqlx::Result<()> {
    let user = operation.resource_id;
    insert_pending(tx, operation).await?;
    accounts::add_pending(&mut **tx, user, password_hash, operation.id).await?;
    accounts::add_role(tx, user, Role::Admin, None).await?;
    Ok(())
}

/// Returns the command to the user service. Its reply completes the operation.
pub(crate) fn sign_up_command(
    publisher: &Publisher<Postgres>,
    operation: &NewOperation,
    user: CreateUser,
) -> Outgoing<UserCommand> {
    Outgoing::<UserCommand>::new(operation.resource_id, user)
        .id(operation.id)
        .reply_to(publisher.topic_name(&topics::GATEWAY_REPLIES))
}
