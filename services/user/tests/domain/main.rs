//! Given these domain events, when this command, then these domain events or this rejection.

mod profile;
mod sign_up;

use contracts::{
    Actor, Command, CreateUser, Date, DeactivateUser, Timestamp, UserCommand, UserCreated, UserDeactivated, UserEvent,
};
use user::domain::Rejection;
use uuid::Uuid;

const ADA: Uuid = Uuid::from_u128(1);
const BOB: Uuid = Uuid::from_u128(2);

fn now() -> Timestamp {
    Timestamp::parse("2026-03-01T12:00:00Z").expect("a valid time")
}

fn date(text: &str) -> Date {
    Date::parse(text).expect("a valid date")
}

fn sign_up() -> CreateUser {
    CreateUser {
        email: "ada@example.com".into(),
        username: "ada_1815".into(),
        full_name: "Ada Lovelace".into(),
        date_of_birth: date("1990-12-10"),
        time_zone: "Europe/London".into(),
    }
}

fn deactivate() -> DeactivateUser {
    DeactivateUser {
        reason: "on request".into(),
    }
}

fn created() -> UserEvent {
    UserCreated { created_at: now() }.into()
}

fn deactivated(reason: &str) -> UserEvent {
    UserDeactivated {
        reason: reason.into(),
        deactivated_at: now(),
    }
    .into()
}

fn command(key: Uuid, actor: Option<Actor>, body: impl Into<UserCommand>) -> Command<UserCommand> {
    Command {
        id: Uuid::from_u128(99),
        key,
        actor,
        time: now(),
        expected_version: None,
        last_attempt: false,
        body: body.into(),
    }
}

/// Returns the field and the code of each error.
fn invalid_fields(result: Result<Vec<UserEvent>, Rejection>) -> Vec<(String, String)> {
    match result {
        Err(Rejection::Invalid(errors)) => errors.into_iter().map(|error| (error.field, error.code)).collect(),
        other => panic!("expected field errors, got {other:?}"),
    }
}
