//! The public REST API.

mod access;
mod audit;
mod content_negotiation;
mod document;
mod edge;
mod events;
mod extract;
mod form;
mod json;
mod keys;
mod notifications;
mod operations;
mod ops;
mod pages;
mod passwords;
mod principal;
mod query;
mod registrations;
mod respond;
mod sessions;
mod users;
mod verification;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::app::App;
use crate::config;
use crate::error::Error;
use crate::problem;

/// Maximum size of a request body, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rollcall",
        description = "Event registration. A write waits for its outcome: two seconds, or n seconds with `Prefer: wait=n` \
                       (at most 25). If the outcome is not known by then, the response is `202` with an operation, and \
                       `/v1/operations/{id}` shows the outcome later. Errors are `application/problem+json` (RFC 9457), \
                       and programs should rely on `code` only.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(problem::Body, problem::Field)),
    tags(
        (name = "users", description = "Accounts and profiles"),
        (name = "sessions", description = "Signing in and out, and passwords"),
        (name = "events", description = "Events and their staff"),
        (name = "registrations", description = "Seats and waiting lists"),
        (name = "notifications", description = "E-mails that were sent to you"),
        (name = "operations", description = "Outcomes of writes"),
        (name = "ops", description = "Status of the services, parked messages and dead letters, for operators"),
        (name = "audit", description = "The audit log and its proofs"),
    ),
)]
struct Document;

/// Returns all routes with their middleware. Requests are counted in `metrics`.
///
/// # Errors
/// Returns an error if the metrics are already registered.
pub fn router(app: App, metrics: &prometheus::Registry) -> prometheus::Result<Router> {
    let (router, document) = routes().split_for_parts();
    let document = document::complete(document);
    let router = router
        .merge(SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", document))
        .merge(pages::routes())
        .fallback(async || Error::NotFound)
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        .layer(
            ServiceBuilder::new()
                .layer(from_fn_with_state(app.clone(), edge::edge))
                .layer(CatchPanicLayer::custom(panicked))
                .layer(cors(app.http()))
                .layer(from_fn_with_state(app.clone(), access::control_access))
                .layer(DefaultBodyLimit::max(MAX_BODY_BYTES)),
        )
        .with_state(app);
    chassis::http::observe(router, metrics)
}

/// Returns the OpenAPI document.
pub fn document() -> serde_json::Value {
    document::complete(routes().into_openapi())
}

fn routes() -> OpenApiRouter<App> {
    let mut document = Document::openapi();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .build();
    document
        .components
        .get_or_insert_default()
        .add_security_scheme("bearer", SecurityScheme::Http(bearer));
    OpenApiRouter::with_openapi(document)
        .routes(routes!(users::sign_up, users::list))
        .routes(routes!(users::show, users::change, users::deactivate))
        .routes(routes!(users::set_roles))
        .routes(routes!(users::export))
        .routes(routes!(users::erase))
        .routes(routes!(users::me))
        .routes(routes!(verification::verify))
        .routes(routes!(sessions::sign_in))
        .routes(routes!(sessions::refresh))
        .routes(routes!(sessions::sign_out))
        .routes(routes!(passwords::change))
        .routes(routes!(passwords::request_reset))
        .routes(routes!(passwords::reset))
        .routes(routes!(keys::key_set))
        .routes(routes!(events::create, events::list))
        .routes(routes!(events::show, events::change))
        .routes(routes!(events::publish))
        .routes(routes!(events::reschedule))
        .routes(routes!(events::cancel))
        .routes(routes!(events::show_staff, events::name_staff))
        .routes(routes!(events::announce))
        .routes(routes!(events::history))
        .routes(routes!(events::availability))
        .routes(routes!(events::calendar_entry))
        .routes(routes!(registrations::register, registrations::list_attendees))
        .routes(routes!(registrations::show, registrations::cancel))
        .routes(routes!(registrations::check_in))
        .routes(routes!(registrations::ticket))
        .routes(routes!(registrations::list_mine))
        .routes(routes!(notifications::list_mine))
        .routes(routes!(operations::show))
        .routes(routes!(operations::list_mine))
        .routes(routes!(ops::status))
        .routes(routes!(ops::lag))
        .routes(routes!(ops::parked))
        .routes(routes!(ops::release))
        .routes(routes!(ops::dead_letters))
        .routes(routes!(ops::redrive))
        .routes(routes!(ops::discard))
        .routes(routes!(ops::where_is))
        .routes(routes!(audit::find_entries))
        .routes(routes!(audit::proof))
        .routes(routes!(audit::checkpoints))
        .routes(routes!(audit::certificates))
        .routes(routes!(audit::verify))
}

fn cors(config: &config::Http) -> CorsLayer {
    let origins = &config.cors_origins;
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            HeaderName::from_static(extract::IDEMPOTENCY_KEY),
            HeaderName::from_static(extract::PREFER),
            HeaderName::from_static(edge::REQUEST_ID),
            HeaderName::from_static("traceparent"),
        ])
        .expose_headers([
            header::LOCATION,
            header::ETAG,
            header::RETRY_AFTER,
            HeaderName::from_static(extract::PREFERENCE_APPLIED),
            HeaderName::from_static(edge::REQUEST_ID),
            HeaderName::from_static(edge::TRACE_RESPONSE),
            HeaderName::from_static(access::RATE_LIMIT),
            HeaderName::from_static(access::RATE_LIMIT_POLICY),
        ])
}

/// Returns the response to a request whose handler panicked. The panic hook has logged the location.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Error::Panicked.into_response()
}
