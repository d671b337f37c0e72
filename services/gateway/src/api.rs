//! The public REST API.

mod accept;
mod admit;
mod answer;
mod audit;
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
mod question;
mod registrations;
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

/// The largest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rollcall",
        description = "Event registration. A write waits two seconds for its outcome, or as long as `Prefer: wait=n` says \
                       (at most 25); an outcome that is not there by then is `202`, and is found at `/v1/operations/{id}`. \
                       Problems are `application/problem+json` (RFC 9457), and `code` is what programs go by.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(problem::Body, problem::Field)),
    tags(
        (name = "users", description = "Accounts and profiles"),
        (name = "sessions", description = "Signing in"),
        (name = "events", description = "What people attend"),
        (name = "registrations", description = "Seats and waiting lists"),
        (name = "notifications", description = "E-mails that were sent"),
        (name = "operations", description = "What became of a write"),
        (name = "ops", description = "How the services are doing, and what to do about it"),
        (name = "audit", description = "What happened, and on whose behalf"),
    ),
)]
struct Document;

/// Every route, with what every answer has. `metrics`: where the requests are counted.
pub fn router(app: App, metrics: &prometheus::Registry) -> prometheus::Result<Router> {
    let (router, document) = routes().split_for_parts();
    let document = document::complete(document);
    let router = router
        .merge(SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", document))
        .merge(pages::routes())
        .fallback(async || Error::NotFound)
        .method_not_allowed_fallback(async || Error::Method)
        .layer(
            ServiceBuilder::new()
                .layer(from_fn_with_state(app.clone(), edge::edge))
                .layer(CatchPanicLayer::custom(panicked))
                .layer(cors(app.http()))
                .layer(from_fn_with_state(app.clone(), admit::admit))
                .layer(DefaultBodyLimit::max(MAX_BODY_BYTES)),
        )
        .with_state(app);
    chassis::http::observe(router, metrics)
}

/// The OpenAPI document.
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
        .routes(routes!(passwords::forget))
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
        .routes(routes!(registrations::register, registrations::of_event))
        .routes(routes!(registrations::show, registrations::cancel))
        .routes(routes!(registrations::check_in))
        .routes(routes!(registrations::ticket))
        .routes(routes!(registrations::mine))
        .routes(routes!(notifications::mine))
        .routes(routes!(operations::show))
        .routes(routes!(operations::mine))
        .routes(routes!(ops::status))
        .routes(routes!(ops::lag))
        .routes(routes!(ops::parked))
        .routes(routes!(ops::release))
        .routes(routes!(ops::dead_letters))
        .routes(routes!(ops::redrive))
        .routes(routes!(ops::discard))
        .routes(routes!(ops::where_is))
        .routes(routes!(audit::entries))
        .routes(routes!(audit::proof))
        .routes(routes!(audit::checkpoints))
        .routes(routes!(audit::certificates))
        .routes(routes!(audit::verify))
}

fn cors(config: &config::Http) -> CorsLayer {
    let origin = match config.cors_origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(
            config
                .cors_origins
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok()),
        ),
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
            HeaderName::from_static(admit::RATE_LIMIT),
            HeaderName::from_static(admit::RATE_LIMIT_POLICY),
        ])
}

/// The panic hook has said where.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Error::Panicked.into_response()
}
