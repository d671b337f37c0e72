//! The roles of a user.

use axum::Json;
use axum::extract::State;
use contracts::{RoleGranted, RoleRevoked};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::extract::{Id, Write, WriteHeaders};
use crate::api::principal::Admin;
use crate::app::App;
use crate::error::Error;
use crate::operations::repetition;
use crate::roles::Role;
use crate::security::{request_cause, security_fact};
use crate::store::operations::{Kind, NewOperation, find_repeated, insert_completed};
use crate::store::{accounts, users};

/// The complete set of roles that a user will have.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "roles": ["organizer"] }))]
pub(in crate::api) struct NewRoles {
    /// `member` may be omitted, because every user has this role.
    roles: Vec<Role>,
}

/// The roles of a user.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct UserRoles {
    user_id: Uuid,
    roles: Vec<Role>,
}

/// Set the roles of a user. Roles that are not listed are revoked.
#[utoipa::path(
    put, path = "/v1/users/{id}/roles", tag = "users", operation_id = "setRoles",
    params(("id" = Uuid, Path), WriteHeaders), request_body = NewRoles,
    security(("bearer" = [])),
    responses(
        (status = OK, body = UserRoles),
    ),
)]
pub(in crate::api) async fn set_roles(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id,
    Write { body, options }: Write<NewRoles>,
) -> Result<Json<UserRoles>, Error> {
    let granted = Role::GRANTED.into_iter().filter(|role| body.roles.contains(role));
    if id == admin.id && !body.roles.contains(&Role::Admin) {
        return Err(Error::OwnAdminRole);
    }
    let idempotency = options.idempotency(Some(admin.id));
    let new = NewOperation {
        id: Uuid::now_v7(),
        kind: Kind::SetRoles,
        principal: Some(admin.id),
        resource_id: id,
        idempotency: idempotency.clone(),
        held: std::time::Duration::ZERO,
        password_hash: None,
    };
    let mut unit = app.unit().await?;
    if !users::exists(unit.tx(), id).await? {
        return Err(Error::NotFound);
    }
    if insert_completed(unit.tx(), &new).await? {
        let changes = accounts::set_roles(unit.tx(), id, granted, Some(admin.id)).await?;
        let cause = request_cause(admin.actor());
        for role in changes.granted {
            let granted = RoleGranted {
                user_id: id,
                role: role.into(),
                granted_by: Some(admin.id),
            };
            unit.publish(&cause, security_fact(Some(id), granted))?;
        }
        for role in changes.revoked {
            let revoked = RoleRevoked {
                user_id: id,
                role: role.into(),
                revoked_by: Some(admin.id),
            };
            unit.publish(&cause, security_fact(Some(id), revoked))?;
        }
    } else if let Some(idempotency) = &idempotency
        && let Some(operation) = find_repeated(&mut **unit.tx(), idempotency).await?
    {
        repetition(operation, idempotency)?;
    }
    // After a repeated request, the roles may have changed since the first one.
    let roles = accounts::granted(&mut **unit.tx(), id).await?;
    unit.commit().await?;
    app.principals().invalidate(id);
    Ok(Json(UserRoles {
        user_id: id,
        roles: roles.list(),
    }))
}
