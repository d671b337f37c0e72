//! How the services are doing, and what an operator can do about it: the same questions and commands that the
//! `rollcall` command has, over the same topics.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use contracts::{
    DiscardDeadLetter, FindDeadLetters, FindParked, OpsCommand, RedriveDeadLetter, ReleaseKey, WhereIs, topics,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::answer::answer;
use super::extract::{Asked, Call, Id, Write, WriteHeaders, asked_wait, limit};
use super::form::Form;
use super::operations::OperationView;
use super::principal::Admin;
use super::question::{AnswerHeaders, WAIT, ask};
use crate::app::App;
use crate::error::Error;
use crate::operations::Intent;
use crate::principal::Principal;
use crate::store::operations::{self, Kind};
use crate::store::processes::{self, Lag, Process};

/// Every service there is.
const SERVICES: [&str; 6] = ["gateway", "user", "event", "registration", "notification", "audit"];

/// Every process, as it said last.
#[derive(Serialize, ToSchema)]
pub(super) struct Processes {
    items: Vec<Process>,
}

/// How every process is doing. One that has not said so for a while is shown as silent.
#[utoipa::path(
    get, path = "/v1/ops/status", tag = "ops", operation_id = "showStatus",
    security(("bearer" = [])),
    responses((status = OK, body = Processes)),
)]
pub(super) async fn status(State(app): State<App>, _: Admin) -> Result<Json<Processes>, Error> {
    let items = processes::all(app.pool()).await?;
    Ok(Json(Processes { items }))
}

/// How far behind every service is.
#[derive(Serialize, ToSchema)]
pub(super) struct Lags {
    items: Vec<Lag>,
}

/// How many messages each service has not applied yet, by topic.
#[utoipa::path(
    get, path = "/v1/ops/lag", tag = "ops", operation_id = "showLag",
    security(("bearer" = [])),
    responses((status = OK, body = Lags)),
)]
pub(super) async fn lag(State(app): State<App>, _: Admin) -> Result<Json<Lags>, Error> {
    let items = processes::lags(app.pool()).await?;
    Ok(Json(Lags { items }))
}

/// A page of what one service keeps aside.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Aside {
    #[param(example = "registration")]
    service: String,
    /// Where the page before ended, as its answer says.
    cursor: Option<String>,
    /// Items on a page, from 1 to 200; else 50. A service gives 100 at most.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// The keys that a poison message holds back at a service, and those with a gap.
#[utoipa::path(
    get, path = "/v1/ops/parked", tag = "ops", operation_id = "listParked",
    params(Aside, AnswerHeaders),
    security(("bearer" = [])),
    responses((status = OK, description = "As the service says it", body = Object)),
)]
pub(super) async fn parked(
    State(app): State<App>,
    admin: Admin,
    Asked(aside): Asked<Aside>,
    headers: HeaderMap,
) -> Result<Json<Value>, Error> {
    let find = FindParked {
        service: service(&aside.service)?,
        cursor: aside.cursor,
        limit: i32::from(limit(aside.limit)?),
    };
    question(&app, &admin, Kind::FindParked, find.into(), &headers).await
}

/// What a service has set aside for good, the newest first.
#[utoipa::path(
    get, path = "/v1/ops/dead-letters", tag = "ops", operation_id = "listDeadLetters",
    params(Aside, AnswerHeaders),
    security(("bearer" = [])),
    responses((status = OK, description = "As the service says it", body = Object)),
)]
pub(super) async fn dead_letters(
    State(app): State<App>,
    admin: Admin,
    Asked(aside): Asked<Aside>,
    headers: HeaderMap,
) -> Result<Json<Value>, Error> {
    let find = FindDeadLetters {
        service: service(&aside.service)?,
        cursor: aside.cursor,
        limit: i32::from(limit(aside.limit)?),
    };
    question(&app, &admin, Kind::FindDeadLetters, find.into(), &headers).await
}

/// What to look for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Of an operation or a message.
    id: Uuid,
}

/// Where a message or an operation has got to.
#[derive(Serialize, ToSchema)]
pub(super) struct Whereabouts {
    id: Uuid,
    /// The gateway's own, if it is one's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<OperationView>,
    /// By service: what it knows, or the `problem` code that it did not answer with.
    #[schema(value_type = Object)]
    services: Value,
}

/// What became of a message or an operation, at every service.
#[utoipa::path(
    get, path = "/v1/ops/where-is", tag = "ops", operation_id = "whereIs",
    params(Wanted, AnswerHeaders),
    security(("bearer" = [])),
    responses((status = OK, body = Whereabouts)),
)]
pub(super) async fn where_is(
    State(app): State<App>,
    admin: Admin,
    Asked(wanted): Asked<Wanted>,
    headers: HeaderMap,
) -> Result<Json<Whereabouts>, Error> {
    let wait = asked_wait(&headers).unwrap_or(WAIT);
    let mut asked = JoinSet::new();
    for service in SERVICES {
        let (app, admin) = (app.clone(), *admin);
        asked.spawn(async move {
            let question = WhereIs {
                service: service.to_owned(),
                message_id: wanted.id,
            };
            let answer = ask::<OpsCommand>(&app, &admin, Kind::WhereIs, question.into(), wait).await;
            let answer = answer.and_then(|text| serde_json::from_str(&text).map_err(Error::BadAnswer));
            (service, answer)
        });
    }
    let mut services = serde_json::Map::new();
    // One that is down is worth knowing of, and no reason to hide what the others say.
    for (service, answer) in asked.join_all().await {
        let answer = answer.unwrap_or_else(|error| json!({ "problem": error.problem().code }));
        services.insert(service.to_owned(), answer);
    }
    let operation = operations::find(app.pool(), wanted.id).await?;
    Ok(Json(Whereabouts {
        id: wanted.id,
        operation: operation.map(OperationView::from),
        services: services.into(),
    }))
}

/// A key that is to go on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "service": "registration", "topic": "events", "key": "0193b0a8-6f62-7cc0-b3ff-4a1a2f1c2d3e" }))]
pub(super) struct Release {
    #[schema(max_length = 30)]
    service: String,
    /// Without prefix.
    #[schema(max_length = 60)]
    topic: String,
    key: Uuid,
}

/// Apply what is parked for one key of one service, in order.
#[utoipa::path(
    post, path = "/v1/ops/parked/release", tag = "ops", operation_id = "releaseKey",
    params(WriteHeaders), request_body = Release,
    security(("bearer" = [])),
    responses((status = ACCEPTED, body = OperationView)),
)]
pub(super) async fn release(
    State(app): State<App>,
    admin: Admin,
    Write { body, call }: Write<Release>,
) -> Result<Response, Error> {
    let mut form = Form::default();
    check_service(&mut form, &body.service);
    let is_known = topics::by_name(&body.topic).is_some();
    form.check(is_known, "topic", "unknown", "There is no such topic.");
    form.finish()?;
    let release = ReleaseKey {
        service: body.service,
        topic: body.topic,
        parked_key: body.key,
    };
    command(&app, &call, &admin, Kind::ReleaseKey, body.key, release.into()).await
}

/// Whose dead letter it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "service": "registration" }))]
pub(super) struct Keeper {
    #[schema(max_length = 30)]
    service: String,
}

/// Do what a dead letter asks for after all, as a new command.
#[utoipa::path(
    post, path = "/v1/ops/dead-letters/{id}/redrive", tag = "ops", operation_id = "redriveDeadLetter",
    params(("id" = Uuid, Path), WriteHeaders), request_body = Keeper,
    security(("bearer" = [])),
    responses((status = ACCEPTED, body = OperationView)),
)]
pub(super) async fn redrive(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id,
    Write { body, call }: Write<Keeper>,
) -> Result<Response, Error> {
    let redrive = RedriveDeadLetter {
        service: service(&body.service)?,
        dead_letter_id: id,
    };
    command(&app, &call, &admin, Kind::RedriveDeadLetter, id, redrive.into()).await
}

/// Drop a dead letter for good.
#[utoipa::path(
    post, path = "/v1/ops/dead-letters/{id}/discard", tag = "ops", operation_id = "discardDeadLetter",
    params(("id" = Uuid, Path), WriteHeaders), request_body = Keeper,
    security(("bearer" = [])),
    responses((status = ACCEPTED, body = OperationView)),
)]
pub(super) async fn discard(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id,
    Write { body, call }: Write<Keeper>,
) -> Result<Response, Error> {
    let discard = DiscardDeadLetter {
        service: service(&body.service)?,
        dead_letter_id: id,
    };
    command(&app, &call, &admin, Kind::DiscardDeadLetter, id, discard.into()).await
}

fn service(name: &str) -> Result<String, Error> {
    let mut form = Form::default();
    check_service(&mut form, name);
    form.finish()?;
    Ok(name.to_owned())
}

fn check_service(form: &mut Form, name: &str) {
    form.check(
        SERVICES.contains(&name),
        "service",
        "unknown",
        "There is no such service.",
    );
}

async fn question(
    app: &App,
    admin: &Principal,
    kind: Kind,
    question: OpsCommand,
    headers: &HeaderMap,
) -> Result<Json<Value>, Error> {
    let wait = asked_wait(headers).unwrap_or(WAIT);
    let answer = ask(app, admin, kind, question, wait).await?;
    serde_json::from_str(&answer).map(Json).map_err(Error::BadAnswer)
}

async fn command(
    app: &App,
    call: &Call,
    admin: &Principal,
    kind: Kind,
    resource_id: Uuid,
    command: OpsCommand,
) -> Result<Response, Error> {
    let id = Uuid::now_v7();
    let intent = Intent {
        id,
        kind,
        actor: admin.actor(),
        key: id,
        command,
        resource_id,
        expected_version: None,
        password_hash: None,
        idempotency: call.idempotency(Some(admin.id)),
        wait: call.wait(),
    };
    let operation = app.operations().perform(intent).await?;
    answer(app, call, admin.viewer(), operation).await
}
