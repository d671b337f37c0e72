//! The public keys that verify access tokens.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, header};
use serde_json::Value;

use crate::app::App;

/// Show the public keys that verify access tokens, as a JWK set (RFC 7517).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "sessions", operation_id = "showKeys",
    responses((status = OK, description = "A JWK set", body = Object)),
)]
pub(super) async fn key_set(State(app): State<App>) -> ([(HeaderName, &'static str); 1], Json<Value>) {
    // Verifiers fetch the set again when a token has an unknown `kid`, so a new key is found despite the cache.
    let cache = [(header::CACHE_CONTROL, "public, max-age=300")];
    (cache, Json(app.tokens().key_set()))
}
