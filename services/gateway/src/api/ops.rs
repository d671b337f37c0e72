//! Queries and commands of operators: the same as those of the `rollcall` command line tool, over the same topics.

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

use super::extract::{Id, QueryParams, Write, WriteHeaders, WriteOptions, limit};
use super::form::Form;
use super::operations::OperationView;
use super::principal::Admin;
use super::query::{QueryHeaders, query, query_wait};
use super::respond::perform;
use crate::app::App;
use crate::error::Error;
use crate::principal::Principal;
use crate::store::operations::{self, Kind};
use crate::store::processes::{self, Lag, Process};

/// Names of all services.
const SERVICES: [&str; 6] = ["gateway", "user", "event", "registration", "notification", "audit"];

/// All processes with their last reported status.
#[derive(Serialize, ToSchema)]
pub(super) struct Processes {
    items: Vec<Process>,
}

/// Show the status of all processes.
///
/// A process that has not reported its status for a while is shown as silent.
#[utoipa::path(
    get, path = "/v1/ops/status", tag = "ops", operation_id = "showStatus",
    security(("bearer" = [])),
    responses((status = OK, body = Processes)),
)]
pub(super) async fn status(State(app): State<App>, _: Admin) -> Result<Json<Processes>, Error> {
    let items = processes::all(app.pool()).await?;
    Ok(Json(Processes { items }))
}

/// The consumer lag of all services.
#[derive(Serialize, ToSchema)]
pub(super) struct Lags {
    items: Vec<Lag>,
}

/// Show how many messages each service has not applied yet, by topic.
#[utoipa::path(
    get, path = "/v1/ops/lag", tag = "ops", operation_id = "showLag",
    security(("bearer" = [])),
    responses((status = OK, body = Lags)),
)]
pub(super) async fn lag(State(app): State<App>, _: Admin) -> Result<Json<Lags>, Error> {
    let items = processes::lags(app.pool()).await?;
    Ok(Json(Lags { items }))
}

/// Selects a service and a page of its parked messages or dead letters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ServicePaging {
    /// Name of the service.
    #[param(example = "registration")]
    service: String,
    /// Cursor of the next page, as the previous response contained it.
    cursor: Option<String>,
    /// Maximum number of items on the page, from 1 to 200. The default is 50, and a service returns at most 100.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// List the parked keys of a service.
///
/// A key is parked after a message that cannot be applied, or after a gap in its sequence.
#[utoipa::path(
    get, path = "/v1/ops/parked", tag = "ops", operation_id = "listParked",
    params(ServicePaging, QueryHeaders),
    security(("bearer" = [])),
    responses((status = OK, description = "The list as the service returns it", body = Object)),
)]
pub(super) async fn parked(
    State(app): State<App>,
    admin: Admin,
    QueryParams(paging): QueryParams<ServicePaging>,
    headers: HeaderMap,
) -> Result<Json<Value>, Error> {
    let find = FindParked {
        service: service(&paging.service)?,
        cursor: paging.cursor,
        limit: i32::from(limit(paging.limit)?),
    };
    query_service(&app, &admin, Kind::FindParked, find, &headers).await
}

/// List the dead letters of a service, newest first.
#[utoipa::path(
    get, path = "/v1/ops/dead-letters", tag = "ops", operation_id = "listDeadLetters",
    params(ServicePaging, QueryHeaders),
    security(("bearer" = [])),
    responses((status = OK, description = "The list as the service returns it", body = Object)),
)]
pub(super) async fn dead_letters(
    State(app): State<App>,
    admin: Admin,
    QueryParams(paging): QueryParams<ServicePaging>,
    headers: HeaderMap,
) -> Result<Json<Value>, Error> {
    let find = FindDeadLetters {
        service: service(&paging.service)?,
        cursor: paging.cursor,
        limit: i32::from(limit(paging.limit)?),
    };
    query_service(&app, &admin, Kind::FindDeadLetters, find, &headers).await
}

/// Selects a message or an operation.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhereIsQuery {
    /// Id of an operation or a message.
    id: Uuid,
}

/// The state of a message or an operation at all services.
#[derive(Serialize, ToSchema)]
pub(super) struct Whereabouts {
    id: Uuid,
    /// The operation, if the id is that of an operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<OperationView>,
    /// For each service: its information about the message, or the code of the `problem` if it did not respond.
    #[schema(value_type = Object)]
    services: Value,
}

/// Show the state of a message or an operation at all services.
#[utoipa::path(
    get, path = "/v1/ops/where-is", tag = "ops", operation_id = "whereIs",
    params(WhereIsQuery, QueryHeaders),
    security(("bearer" = [])),
    responses((status = OK, body = Whereabouts)),
)]
pub(super) async fn where_is(
    State(app): State<App>,
    admin: Admin,
    QueryParams(params): QueryParams<WhereIsQuery>,
    headers: HeaderMap,
) -> Result<Json<Whereabouts>, Error> {
    let wait = query_wait(&headers);
    let mut queries = JoinSet::new();
    for service in SERVICES {
        let (app, admin) = (app.clone(), *admin);
        queries.spawn(async move {
            let where_is = WhereIs {
                service: service.to_owned(),
                message_id: params.id,
            };
            let result: Result<Value, Error> =
                query::<OpsCommand, _>(&app, &admin, Kind::WhereIs, where_is, wait).await;
            (service, result)
        });
    }
    let mut services = serde_json::Map::new();
    // A service that does not respond is reported as such, beside the results of the others.
    for (service, result) in queries.join_all().await {
        let result = result.unwrap_or_else(|error| json!({ "problem": error.problem().code }));
        services.insert(service.to_owned(), result);
    }
    let operation = operations::find(app.pool(), params.id).await?;
    Ok(Json(Whereabouts {
        id: params.id,
        operation: operation.map(OperationView::from),
        services: services.into(),
    }))
}

/// The parked key to release.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "service": "registration", "topic": "events", "key": "0193b0a8-6f62-7cc0-b3ff-4a1a2f1c2d3e" }))]
pub(super) struct ParkedKey {
    /// Name of the service at which the key is parked.
    #[schema(max_length = 30)]
    service: String,
    /// Name of the topic without the prefix.
    #[schema(max_length = 60)]
    topic: String,
    key: Uuid,
}

/// Apply the parked messages of one key at one service, in order.
#[utoipa::path(
    post, path = "/v1/ops/parked/release", tag = "ops", operation_id = "releaseKey",
    params(WriteHeaders), request_body = ParkedKey,
    security(("bearer" = [])),
    responses((status = ACCEPTED, body = OperationView)),
)]
pub(super) async fn release(
    State(app): State<App>,
    admin: Admin,
    Write { body, options }: Write<ParkedKey>,
) -> Result<Response, Error> {
    let mut form = Form::default();
    check_service(&mut form, &body.service);
    let is_known = topics::by_name(&body.topic).is_some();
    form.check(is_known, "topic", "unknown", "This topic does not exist.");
    form.finish()?;
    let release = ReleaseKey {
        service: body.service,
        topic: body.topic,
        parked_key: body.key,
    };
    perform_command(&app, &options, &admin, Kind::ReleaseKey, body.key, release).await
}

/// The service that stores a dead letter.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "service": "registration" }))]
pub(super) struct DeadLetterOwner {
    /// Name of the service.
    #[schema(max_length = 30)]
    service: String,
}

/// Send the command of a dead letter again, as a new command.
#[utoipa::path(
    post, path = "/v1/ops/dead-letters/{id}/redrive", tag = "ops", operation_id = "redriveDeadLetter",
    params(("id" = Uuid, Path), WriteHeaders), request_body = DeadLetterOwner,
    security(("bearer" = [])),
    responses((status = ACCEPTED, body = OperationView)),
)]
pub(super) async fn redrive(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id,
    Write { body, options }: Write<DeadLetterOwner>,
) -> Result<Response, Error> {
    let redrive = RedriveDeadLetter {
        service: service(&body.service)?,
        dead_letter_id: id,
    };
    perform_command(&app, &options, &admin, Kind::RedriveDeadLetter, id, redrive).await
}

/// Discard a dead letter permanently.
#[utoipa::path(
    post, path = "/v1/ops/dead-letters/{id}/discard", tag = "ops", operation_id = "discardDeadLetter",
    params(("id" = Uuid, Path), WriteHeaders), request_body = DeadLetterOwner,
    security(("bearer" = [])),
    responses((status = ACCEPTED, body = OperationView)),
)]
pub(super) async fn discard(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id,
    Write { body, options }: Write<DeadLetterOwner>,
) -> Result<Response, Error> {
    let discard = DiscardDeadLetter {
        service: service(&body.service)?,
        dead_letter_id: id,
    };
    perform_command(&app, &options, &admin, Kind::DiscardDeadLetter, id, discard).await
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
        "This service does not exist.",
    );
}

async fn query_service(
    app: &App,
    admin: &Principal,
    kind: Kind,
    ops_query: impl Into<OpsCommand>,
    headers: &HeaderMap,
) -> Result<Json<Value>, Error> {
    let result = query::<OpsCommand, _>(app, admin, kind, ops_query, query_wait(headers)).await?;
    Ok(Json(result))
}

async fn perform_command(
    app: &App,
    options: &WriteOptions,
    admin: &Principal,
    kind: Kind,
    resource_id: Uuid,
    command: impl Into<OpsCommand>,
) -> Result<Response, Error> {
    let intent = options.intent::<OpsCommand>(admin, kind, resource_id, command);
    perform(app, options, admin, intent.keyed_by_operation()).await
}
