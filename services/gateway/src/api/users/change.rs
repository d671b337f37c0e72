//! Changing, deactivating and erasing an account, by its user or an admin.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use contracts::{ChangeUser, DeactivateUser, EraseUser, UserCommand};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::extract::{EmptyBody, Id, Write, WriteHeaders, WriteOptions};
use crate::api::form::Form;
use crate::api::operations::OperationView;
use crate::api::principal::Member;
use crate::api::respond::perform;
use crate::app::App;
use crate::error::Error;
use crate::operations::Intent;
use crate::principal::Principal;
use crate::store::operations::Kind;
use crate::store::users::{self, User};

/// Changes of a profile. Omitted fields keep their value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "full_name": "Ada King", "time_zone": "Europe/Paris" }))]
pub(in crate::api) struct UserChanges {
    /// A link that verifies the new address is sent to it.
    #[schema(format = Email, max_length = 254)]
    email: Option<String>,
    /// One line.
    #[schema(max_length = 200)]
    full_name: Option<String>,
    /// Users must be at least 13 years old.
    #[schema(format = Date)]
    date_of_birth: Option<String>,
    /// IANA name of the time zone for times in e-mails.
    #[schema(
        max_length = 64,
        pattern = "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$",
        examples("Europe/Berlin")
    )]
    time_zone: Option<String>,
    /// `true` if the user receives reminders of events.
    reminders: Option<bool>,
    /// `true` if the user receives announcements from organizers.
    announcements: Option<bool>,
}

fn parse(changes: UserChanges) -> Result<ChangeUser, Error> {
    let mut form = Form::default();
    if let Some(email) = &changes.email {
        let is_plausible = email.len() <= 254 && email.contains('@');
        form.check(
            is_plausible,
            "email",
            "malformed",
            "Must be an e-mail address of at most 254 characters.",
        );
    }
    let date_of_birth = changes.date_of_birth.map(|text| form.date("date_of_birth", &text));
    if let Some(name) = &changes.time_zone {
        form.time_zone("time_zone", name);
    }
    form.finish()?;
    Ok(ChangeUser {
        email: changes.email,
        full_name: changes.full_name,
        date_of_birth,
        time_zone: changes.time_zone,
        reminders: changes.reminders,
        announcements: changes.announcements,
    })
}

/// Change a profile.
///
/// Users change their own profile, and admins change any profile.
#[utoipa::path(
    patch, path = "/v1/users/{id}", tag = "users", operation_id = "changeUser",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "`ETag` of the version that the change is based on. The response is `412` if the resource has changed since"), WriteHeaders),
    request_body = Option<UserChanges>,
    security(("bearer" = [])),
    responses((status = OK, body = User), (status = ACCEPTED, body = OperationView)),
)]
pub(in crate::api) async fn change(
    State(app): State<App>,
    member: Member,
    Id(id): Id,
    Write { body, options }: Write<UserChanges>,
) -> Result<Response, Error> {
    let user = changeable(&app, &member, id).await?;
    let change = parse(body)?;
    let is_new = |email: &String| email.to_lowercase() != user.email.to_lowercase();
    let kind = if change.email.as_ref().is_some_and(is_new) {
        Kind::ChangeEmail
    } else {
        Kind::ChangeUser
    };
    let intent = intent(&options, &member, kind, id, change);
    perform(&app, &options, &member, intent).await
}

/// Deactivate an account.
///
/// The seats of the user are released, and the user cannot sign in any more.
#[utoipa::path(
    delete, path = "/v1/users/{id}", tag = "users", operation_id = "deactivateUser",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "`ETag` of the version that the change is based on. The response is `412` if the resource has changed since"), WriteHeaders),
    security(("bearer" = [])),
    responses((status = OK, body = User), (status = ACCEPTED, body = OperationView)),
)]
pub(in crate::api) async fn deactivate(
    State(app): State<App>,
    member: Member,
    Id(id): Id,
    Write { options, .. }: Write<EmptyBody>,
) -> Result<Response, Error> {
    changeable(&app, &member, id).await?;
    let reason = if id == member.id {
        "requested by the user"
    } else {
        "decided by an admin"
    };
    let deactivate = DeactivateUser {
        reason: reason.to_owned(),
    };
    let intent = intent(&options, &member, Kind::DeactivateUser, id, deactivate);
    let response = perform(&app, &options, &member, intent).await;
    app.principals().invalidate(id);
    response
}

/// Erase an account.
///
/// The profile and all copies of it are erased, and the account is deactivated. The history of the account remains
/// without personal data.
#[utoipa::path(
    post, path = "/v1/users/{id}/erasure", tag = "users", operation_id = "eraseUser",
    params(("id" = Uuid, Path), WriteHeaders),
    security(("bearer" = [])),
    responses((status = ACCEPTED, body = OperationView)),
)]
pub(in crate::api) async fn erase(
    State(app): State<App>,
    member: Member,
    Id(id): Id,
    Write { options, .. }: Write<EmptyBody>,
) -> Result<Response, Error> {
    changeable(&app, &member, id).await?;
    // Other services erase their copies when they receive the domain event, so there is nothing to wait for.
    let intent = intent(&options, &member, Kind::EraseUser, id, EraseUser {}).wait(Duration::ZERO);
    let response = perform(&app, &options, &member, intent).await;
    app.principals().invalidate(id);
    response
}

/// Returns the user if the principal may change it.
///
/// # Errors
/// Returns [`Error::NotFound`] if the user does not exist, or the principal is neither the user nor an admin.
async fn changeable(app: &App, principal: &Principal, id: Uuid) -> Result<User, Error> {
    let user = users::find(app.pool(), id, principal.viewer()).await?;
    user.ok_or(Error::NotFound)
}

fn intent(
    options: &WriteOptions,
    principal: &Principal,
    kind: Kind,
    id: Uuid,
    command: impl Into<UserCommand>,
) -> Intent<UserCommand> {
    let intent = options.intent(principal, kind, id, command);
    intent.expected_version(options.expected_version)
}
