//! What becomes of an account: changed, closed, forgotten. By its person, or an admin.

use axum::extract::State;
use axum::response::Response;
use contracts::{ChangeUser, DeactivateUser, EraseUser, UserCommand};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::answer::answer;
use crate::api::extract::{Call, Id, Nothing, Write, WriteHeaders};
use crate::api::form::Form;
use crate::api::operations::OperationView;
use crate::api::principal::Member;
use crate::app::App;
use crate::error::Error;
use crate::operations::Intent;
use crate::principal::Principal;
use crate::store::operations::Kind;
use crate::store::users::{self, User};

/// What is to be changed; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "full_name": "Ada King", "time_zone": "Europe/Paris" }))]
pub(in crate::api) struct UserChanges {
    /// A link is mailed to the new address, which is to be verified.
    #[schema(format = Email, max_length = 254)]
    email: Option<String>,
    #[schema(max_length = 200)]
    full_name: Option<String>,
    /// At least 13 years ago.
    #[schema(format = Date)]
    date_of_birth: Option<String>,
    /// IANA name.
    #[schema(
        max_length = 64,
        pattern = "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$",
        examples("Europe/Berlin")
    )]
    time_zone: Option<String>,
    /// Whether to be reminded of events.
    reminders: Option<bool>,
    /// Whether to get organizers' announcements.
    announcements: Option<bool>,
}

fn parse(changes: UserChanges) -> Result<ChangeUser, Error> {
    let mut form = Form::default();
    if let Some(email) = &changes.email {
        let looks_like_one = email.len() <= 254 && email.contains('@');
        form.check(looks_like_one, "email", "malformed", "This is no e-mail address.");
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

/// Change your profile.
#[utoipa::path(
    patch, path = "/v1/users/{id}", tag = "users", operation_id = "changeUser",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The ETag that you have seen"), WriteHeaders),
    request_body = Option<UserChanges>,
    security(("bearer" = [])),
    responses((status = OK, body = User), (status = ACCEPTED, body = OperationView)),
)]
pub(in crate::api) async fn change(
    State(app): State<App>,
    member: Member,
    Id(id): Id,
    Write { body, call }: Write<UserChanges>,
) -> Result<Response, Error> {
    let user = theirs(&app, &member, id).await?;
    let change = parse(body)?;
    let is_new = |email: &String| email.to_lowercase() != user.email.to_lowercase();
    let kind = match change.email.as_ref().is_some_and(is_new) {
        true => Kind::ChangeEmail,
        false => Kind::ChangeUser,
    };
    command(&app, &call, &member, kind, id, change).await
}

/// Close your account: your seats are given up, and you can't sign in any more.
#[utoipa::path(
    delete, path = "/v1/users/{id}", tag = "users", operation_id = "deactivateUser",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The ETag that you have seen"), WriteHeaders),
    security(("bearer" = [])),
    responses((status = OK, body = User), (status = ACCEPTED, body = OperationView)),
)]
pub(in crate::api) async fn deactivate(
    State(app): State<App>,
    member: Member,
    Id(id): Id,
    Write { call, .. }: Write<Nothing>,
) -> Result<Response, Error> {
    theirs(&app, &member, id).await?;
    let reason = match id == member.id {
        true => "asked for by the user",
        false => "decided by an admin",
    };
    let deactivate = DeactivateUser {
        reason: reason.to_owned(),
    };
    command(&app, &call, &member, Kind::DeactivateUser, id, deactivate).await
}

/// Be forgotten: the profile and every copy of it go, the account is closed, and its history stays without you.
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
    Write { call, .. }: Write<Nothing>,
) -> Result<Response, Error> {
    theirs(&app, &member, id).await?;
    command(&app, &call, &member, Kind::EraseUser, id, EraseUser {}).await
}

/// The user, if it is this principal's to change.
async fn theirs(app: &App, principal: &Principal, id: Uuid) -> Result<User, Error> {
    let user = users::find(app.pool(), id, principal.viewer()).await?;
    user.ok_or(Error::NotFound)
}

async fn command(
    app: &App,
    call: &Call,
    principal: &Principal,
    kind: Kind,
    id: Uuid,
    command: impl Into<UserCommand>,
) -> Result<Response, Error> {
    let intent = Intent::<UserCommand> {
        id: Uuid::now_v7(),
        kind,
        actor: principal.actor(),
        key: id,
        command: command.into(),
        resource_id: id,
        expected_version: call.expected_version,
        password_hash: None,
        idempotency: call.idempotency(Some(principal.id)),
        // Copies elsewhere go when their services hear of it: there is no use in waiting.
        wait: match kind {
            Kind::EraseUser => std::time::Duration::ZERO,
            _ => call.wait(),
        },
    };
    let operation = app.operations().perform(intent).await?;
    if matches!(kind, Kind::DeactivateUser | Kind::EraseUser) {
        app.principals().invalidate(id);
    }
    answer(app, call, principal.viewer(), operation).await
}
