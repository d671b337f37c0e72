//! The two pages that links sent by e-mail open. They send the token of the link to the API. They are for humans, so
//! the OpenAPI document does not list them.

use axum::Router;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::app::App;

/// Content security policy of the pages: scripts, styles and requests of the same origin only.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                                 form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/verification", page(HTML, include_str!("pages/verification.html")))
        .route(
            "/pages/verification.js",
            page(SCRIPT, include_str!("pages/verification.js")),
        )
        .route("/password-reset", page(HTML, include_str!("pages/password-reset.html")))
        .route(
            "/pages/password-reset.js",
            page(SCRIPT, include_str!("pages/password-reset.js")),
        )
        .route("/pages/page.css", page(STYLE, include_str!("pages/page.css")))
}

fn page(media_type: &'static str, text: &'static str) -> axum::routing::MethodRouter<App> {
    get(async move || response(media_type, text))
}

fn response(media_type: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 2] = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, text)
}
