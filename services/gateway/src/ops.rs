//! The ops commands of the gateway: an operator creates admins and grants roles, even while no user can sign in.

use contracts::aggregate::Rejection;
use contracts::{CreateAdmin, CreateUser, GrantRole, OpsCommand, RoleGranted};
use messaging::{Failure, OpsHandler, OpsOutcome, Received, Unit};
use postgres::Postgres;
use serde_json::json;

use crate::admins::{insert_sign_up, sign_up_command, sign_up_operation};
use crate::handlers::failed;
use crate::roles::Role;
use crate::security::security_fact;
use crate::store::operations::Kind;
use crate::store::{accounts, users};

/// Creates admins and grants roles.
pub struct Accounts;

impl OpsHandler<Postgres> for Accounts {
    async fn handle(&self, unit: &mut Unit<Postgres>, command: &Received<OpsCommand>) -> Result<OpsOutcome, Failure> {
        match &command.body {
            OpsCommand::CreateAdmin(create) => create_admin(unit, command, create).await,
            OpsCommand::GrantRole(grant) => grant_role(unit, command, grant).await,
            _ => Ok(OpsOutcome::Unhandled),
        }
    }
}

/// Signs an admin up without a password. When the sign-up is accepted, the user receives a link by e-mail that sets
/// one.
async fn create_admin(
    unit: &mut Unit<Postgres>,
    command: &Received<OpsCommand>,
    create: &CreateAdmin,
) -> Result<OpsOutcome, Failure> {
    let user = create.user_id;
    if accounts::is_known(unit.tx(), user).await.map_err(failed)? {
        let rejected = Rejection::new("already-exists", "A user with this id already exists.");
        return Ok(OpsOutcome::Rejected(rejected));
    }
    let operation = sign_up_operation(Kind::CreateAdmin, user);
    insert_sign_up(unit.tx(), &operation, None).await.map_err(failed)?;
    let admin = CreateUser {
        email: create.email.clone(),
        username: create.username.clone(),
        full_name: create.full_name.clone(),
        date_of_birth: create.date_of_birth,
        time_zone: create.time_zone.clone(),
    };
    // The messages that follow belong to the operation, not to the ops command.
    let mut cause = command.cause();
    cause.correlation_id = operation.id;
    let sign_up = sign_up_command(unit.publisher(), &operation, admin);
    unit.publish(&cause, sign_up)?;
    Ok(OpsOutcome::Done(
        json!({ "user_id": user, "operation_id": operation.id }),
    ))
}

/// Grants a role and publishes a fact if the user did not have it.
async fn grant_role(
    unit: &mut Unit<Postgres>,
    command: &Received<OpsCommand>,
    grant: &GrantRole,
) -> Result<OpsOutcome, Failure> {
    let user = grant.user_id;
    let Some(role) = Role::from_contract(grant.role) else {
        return Ok(OpsOutcome::Rejected(Rejection::new(
            "role-unknown",
            "This role does not exist.",
        )));
    };
    if !users::exists(unit.tx(), user).await.map_err(failed)? {
        let rejected = Rejection::new("user-unknown", "This user does not exist or is deactivated.");
        return Ok(OpsOutcome::Rejected(rejected));
    }
    let granted_by = command.envelope.actor.as_ref().and_then(contracts::Actor::user);
    let is_new = accounts::add_role(unit.tx(), user, role, granted_by)
        .await
        .map_err(failed)?;
    if is_new {
        let granted = RoleGranted {
            user_id: user,
            role: grant.role,
            granted_by,
        };
        unit.publish(&command.cause(), security_fact(Some(user), granted))?;
    }
    Ok(OpsOutcome::Done(
        json!({ "user_id": user, "role": role, "granted": is_new }),
    ))
}
