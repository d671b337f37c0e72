//! Accounts and profiles.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use contracts::{CreateUser, DeactivateUser, UserCommand};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{answer, versioned};
use super::extract::{Id, Nothing, Write, WriteHeaders};
use super::form::Form;
use super::operations::OperationView;
use super::principal::{Admin, Member};
use crate::app::App;
use crate::error::Error;
use crate::operations::{Intent, repetition};
use crate::passwords::Password;
use crate::problem;
use crate::roles::{Role, Roles};
use crate::store::operations::{Kind, New, carry_out, find_repeated};
use crate::store::users::User;
use crate::store::{accounts, users};

/// What one signs up with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    #[schema(format = Email, max_length = 254)]
    email: String,
    /// Of a to z, 0 to 9 and _.
    #[schema(min_length = 3, max_length = 30, pattern = "^[a-z0-9_]+$", examples("ada"))]
    username: String,
    #[schema(max_length = 200)]
    full_name: String,
    /// At least 13 years ago.
    #[schema(format = Date)]
    date_of_birth: String,
    /// Not one of the common ones.
    #[schema(format = Password, min_length = 12, max_length = 128)]
    password: String,
    /// IANA name.
    #[serde(default = "utc")]
    #[schema(default = "UTC", examples("Europe/Berlin"))]
    time_zone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What the gateway alone can tell, and what is not worth hashing a password for; all the rest is the user service's
/// to say.
fn parse(new: NewUser) -> Result<(CreateUser, Password), Error> {
    let mut form = Form::default();
    let looks_like_one = new.email.len() <= 254 && new.email.contains('@');
    form.check(looks_like_one, "email", "malformed", "This is no e-mail address.");
    let username = new.username.as_bytes();
    let is_short_word = (3..=30).contains(&username.len())
        && username
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_');
    form.check(
        is_short_word,
        "username",
        "malformed",
        "3 to 30 of a to z, 0 to 9 and _.",
    );
    let date_of_birth = form.date("date_of_birth", &new.date_of_birth);
    form.time_zone("time_zone", &new.time_zone);
    let password = Password::new(new.password);
    if let Err(fault) = &password {
        form.add(fault.of_field("password"));
    }
    form.finish()?;
    let create = CreateUser {
        email: new.email,
        username: new.username,
        full_name: new.full_name,
        date_of_birth,
        time_zone: new.time_zone,
    };
    Ok((create, password.expect("the form was finished without a fault")))
}

/// Sign up.
#[utoipa::path(
    post, path = "/v1/users", tag = "users", operation_id = "signUp",
    params(WriteHeaders), request_body = NewUser,
    responses(
        (status = CREATED, body = User, headers(("Location", description = "/v1/users/{id}"))),
        (status = ACCEPTED, body = OperationView, headers(("Location", description = "/v1/operations/{id}"))),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn sign_up(State(app): State<App>, Write { body, call }: Write<NewUser>) -> Result<Response, Error> {
    let (create, password) = parse(body)?;
    let idempotency = call.idempotency(None);
    // A repetition need not be hashed again.
    if let Some(idempotency) = &idempotency
        && let Some(operation) = app.operations().find_repeated(idempotency).await?
    {
        let viewer = operation.resource_id;
        return answer(&app, &call, viewer, operation).await;
    }
    let password_hash = app.hasher().hash(password).await?;
    let id = Uuid::now_v7();
    let intent = Intent::<UserCommand> {
        id: Uuid::now_v7(),
        kind: Kind::CreateUser,
        principal: None,
        key: id,
        command: create.into(),
        resource_id: id,
        expected_version: None,
        password_hash: Some(password_hash),
        idempotency,
        wait: call.wait(),
    };
    let operation = app.operations().perform(intent).await?;
    let viewer = operation.resource_id;
    answer(&app, &call, viewer, operation).await
}

/// Your own profile; anybody else's is not there.
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "users", operation_id = "showUser",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses(
        (status = OK, body = User),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn show(State(app): State<App>, member: Member, Id(id): Id) -> Result<Response, Error> {
    if id != member.id {
        return Err(Error::NotFound);
    }
    profile(&app, id).await
}

/// Your own profile.
#[utoipa::path(
    get, path = "/v1/me", tag = "users", operation_id = "showMe",
    security(("bearer" = [])),
    responses(
        (status = OK, body = User),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn me(State(app): State<App>, member: Member) -> Result<Response, Error> {
    profile(&app, member.id).await
}

async fn profile(app: &App, id: Uuid) -> Result<Response, Error> {
    let user = users::find(app.pool(), id).await?.ok_or(Error::NotFound)?;
    Ok(versioned(user.version, user))
}

/// Close your own account: your seats are given up, and you can't sign in any more.
#[utoipa::path(
    delete, path = "/v1/users/{id}", tag = "users", operation_id = "deactivateUser",
    params(("id" = Uuid, Path), WriteHeaders),
    security(("bearer" = [])),
    responses(
        (status = OK, body = User),
        (status = ACCEPTED, body = OperationView, headers(("Location", description = "/v1/operations/{id}"))),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn deactivate(
    State(app): State<App>,
    member: Member,
    Id(id): Id,
    Write { call, .. }: Write<Nothing>,
) -> Result<Response, Error> {
    if id != member.id {
        return Err(Error::NotFound);
    }
    let intent = Intent::<UserCommand> {
        id: Uuid::now_v7(),
        kind: Kind::DeactivateUser,
        principal: Some(member.id),
        key: id,
        command: DeactivateUser {
            reason: "asked for by the user".to_owned(),
        }
        .into(),
        resource_id: id,
        expected_version: call.expected_version,
        password_hash: None,
        idempotency: call.idempotency(Some(member.id)),
        wait: call.wait(),
    };
    let operation = app.operations().perform(intent).await?;
    app.members().forget(id);
    answer(&app, &call, id, operation).await
}

/// The roles that a user is to have.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRoles {
    /// `member` may be left out: everybody is one.
    roles: Vec<Role>,
}

/// The roles that a user has.
#[derive(Serialize, ToSchema)]
pub(super) struct UserRoles {
    user_id: Uuid,
    roles: Vec<Role>,
}

/// Give a user exactly these roles.
#[utoipa::path(
    put, path = "/v1/users/{id}/roles", tag = "users", operation_id = "setRoles",
    params(("id" = Uuid, Path), WriteHeaders), request_body = NewRoles,
    security(("bearer" = [])),
    responses(
        (status = OK, body = UserRoles),
        (status = "default", description = "A problem", body = problem::Body, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn set_roles(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id,
    Write { body, call }: Write<NewRoles>,
) -> Result<Json<UserRoles>, Error> {
    let granted = Role::GRANTED.into_iter().filter(|role| body.roles.contains(role));
    if id == admin.id && !body.roles.contains(&Role::Admin) {
        return Err(Error::OwnAdminRole);
    }
    let idempotency = call.idempotency(Some(admin.id));
    let new = New {
        id: Uuid::now_v7(),
        kind: Kind::SetRoles,
        principal: Some(admin.id),
        resource_id: id,
        idempotency: idempotency.clone(),
        held: std::time::Duration::ZERO,
        password_hash: None,
    };
    let mut tx = app.pool().begin().await?;
    if !users::exists(&mut tx, id).await? {
        return Err(Error::NotFound);
    }
    if carry_out(&mut tx, &new).await? {
        accounts::set_roles(&mut tx, id, granted.clone(), Some(admin.id)).await?;
    } else if let Some(idempotency) = &idempotency
        && let Some(operation) = find_repeated(&mut *tx, idempotency).await?
    {
        repetition(operation, idempotency)?;
    }
    tx.commit().await?;
    app.members().forget(id);
    let roles: Roles = granted.collect();
    Ok(Json(UserRoles {
        user_id: id,
        roles: roles.list(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_user() -> NewUser {
        NewUser {
            email: "ada@example.org".to_owned(),
            username: "ada".to_owned(),
            full_name: "Ada Lovelace".to_owned(),
            date_of_birth: "1990-12-10".to_owned(),
            password: "correct horse battery".to_owned(),
            time_zone: "Europe/London".to_owned(),
        }
    }

    #[test]
    fn every_fault_is_said_at_once() {
        assert!(parse(new_user()).is_ok());
        let wrong = NewUser {
            email: "ada".to_owned(),
            username: "Ada Lovelace".to_owned(),
            date_of_birth: "10.12.1990".to_owned(),
            password: "short".to_owned(),
            time_zone: "Europe/Ankh-Morpork".to_owned(),
            ..new_user()
        };
        let Err(Error::Invalid(errors)) = parse(wrong) else {
            panic!("five fields are wrong");
        };
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["email", "username", "date_of_birth", "time_zone", "password"]);
    }
}
