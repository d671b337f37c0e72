//! Accounts and profiles.

mod change;
mod export;
mod list;
mod roles;

use axum::extract::State;
use axum::response::Response;
use contracts::{CreateUser, UserCommand};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::{Id, Write, WriteHeaders};
use super::form::Form;
use super::operations::OperationView;
use super::principal::Member;
use super::respond::{respond, versioned};
use crate::app::App;
use crate::error::Error;
use crate::operations::{GATEWAY, Intent};
use crate::passwords::Password;
use crate::principal::Principal;
use crate::store::operations::Kind;
use crate::store::users::{self, User};

pub(super) use change::*;
pub(super) use export::*;
pub(super) use list::*;
pub(super) use roles::*;

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "email": "ada@example.org", "username": "ada", "full_name": "Ada Lovelace", "date_of_birth": "1990-12-10",
    "password": "a long passphrase of yours", "time_zone": "Europe/London"
}))]
pub(super) struct NewUser {
    /// Verified with a link sent by e-mail and used to sign in.
    #[schema(format = Email, max_length = 254)]
    email: String,
    /// Lower-case letters, digits and underscores.
    #[schema(min_length = 3, max_length = 30, pattern = "^[a-z0-9_]+$", examples("ada"))]
    username: String,
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\u0000-\u001F\u007F-\u009F]*[^\s\u0000-\u001F\u007F-\u009F][^\u0000-\u001F\u007F-\u009F]*$"
    )]
    full_name: String,
    /// Users must be at least 13 years old.
    #[schema(format = Date)]
    date_of_birth: String,
    /// Common passwords are rejected.
    #[schema(format = Password, min_length = 12, max_length = 128)]
    password: String,
    /// IANA name of the time zone for times in e-mails.
    #[serde(default = "utc")]
    #[schema(
        default = "UTC",
        max_length = 64,
        pattern = "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$",
        examples("Europe/Berlin")
    )]
    time_zone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// Checks the fields that only the gateway can check, and obvious mistakes that must not cost a password hash. The user
/// service checks everything else.
fn parse(new: NewUser) -> Result<(CreateUser, Password), Error> {
    let mut form = Form::default();
    let is_plausible = new.email.len() <= 254 && new.email.contains('@');
    form.check(
        is_plausible,
        "email",
        "malformed",
        "Must be an e-mail address of at most 254 characters.",
    );
    let username = new.username.as_bytes();
    let is_username = (3..=30).contains(&username.len())
        && username
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_');
    form.check(
        is_username,
        "username",
        "malformed",
        "Must have 3 to 30 characters, each a lower-case letter, a digit or an underscore.",
    );
    form.title("full_name", &new.full_name, 200);
    let date_of_birth = form.date("date_of_birth", &new.date_of_birth);
    form.time_zone("time_zone", &new.time_zone);
    let password = Password::new(new.password);
    if let Err(error) = &password {
        form.add(error.of_field("password"));
    }
    form.finish()?;
    let create = CreateUser {
        email: new.email,
        username: new.username,
        full_name: new.full_name,
        date_of_birth,
        time_zone: new.time_zone,
    };
    Ok((create, password.expect("the form has no errors")))
}

/// Sign up.
///
/// Creates an account and sends a link that verifies its e-mail address.
#[utoipa::path(
    post, path = "/v1/users", tag = "users", operation_id = "signUp",
    params(WriteHeaders), request_body = NewUser,
    responses(
        (status = CREATED, body = User, headers(("Location", description = "/v1/users/{id}"))),
        (status = ACCEPTED, body = OperationView, headers(("Location", description = "/v1/operations/{id}"))),
    ),
)]
pub(super) async fn sign_up(
    State(app): State<App>,
    Write { body, options }: Write<NewUser>,
) -> Result<Response, Error> {
    let (create, password) = parse(body)?;
    let idempotency = options.idempotency(None);
    // The password of a repeated request is not hashed again.
    if let Some(idempotency) = &idempotency
        && let Some(operation) = app.operations().find_repeated(idempotency).await?
    {
        let viewer = operation.resource_id;
        return respond(&app, &options, viewer, operation).await;
    }
    let password_hash = app.hasher().hash(password).await?;
    let id = Uuid::now_v7();
    let intent = Intent::<UserCommand>::new(Kind::CreateUser, GATEWAY, id, create)
        .password_hash(password_hash)
        .idempotency(idempotency)
        .wait(options.wait());
    let operation = app.operations().perform(intent).await?;
    let viewer = operation.resource_id;
    respond(&app, &options, viewer, operation).await
}

/// Show a profile.
///
/// Users see their own profile, and admins see all profiles. Any other profile is `404`.
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "users", operation_id = "showUser",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses(
        (status = OK, body = User),
    ),
)]
pub(super) async fn show(State(app): State<App>, member: Member, Id(id): Id) -> Result<Response, Error> {
    profile(&app, id, &member).await
}

/// Show your own profile.
#[utoipa::path(
    get, path = "/v1/me", tag = "users", operation_id = "showMe",
    security(("bearer" = [])),
    responses(
        (status = OK, body = User),
    ),
)]
pub(super) async fn me(State(app): State<App>, member: Member) -> Result<Response, Error> {
    profile(&app, member.id, &member).await
}

async fn profile(app: &App, id: Uuid, principal: &Principal) -> Result<Response, Error> {
    let user = users::find(app.pool(), id, principal.viewer())
        .await?
        .ok_or(Error::NotFound)?;
    Ok(versioned(user.version, user))
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
    fn all_field_errors_are_reported_together() {
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
