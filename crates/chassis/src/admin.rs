//! The admin port: `/health`, `/ready` and `/metrics`, read-only, for orchestrators and scrapers.
//!
//! The port has no authentication and must not be reachable from a public network. It listens on the loopback interface
//! unless `ADMIN_LISTEN` is set.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::Registry;
use tokio::net::TcpListener;

use crate::serve::{Limits, serve};
use crate::{Health, http, metrics};

/// The admin port, bound but not yet served.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Debug, Clone)]
struct AdminState {
    health: Health,
    metrics: Registry,
}

impl Admin {
    /// Binds the port. Port 0 selects a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Admin> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Admin { listener, address })
    }

    /// Returns the bound address, with the selected port if port 0 was requested.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` completes, within its own [`Limits`], and finishes the requests in flight.
    pub async fn serve(self, health: Health, metrics: Registry, stop: impl Future<Output = ()> + Send + 'static) {
        let routes = routes(AdminState { health, metrics });
        serve(self.listener, routes, limits(), Some, stop).await;
    }
}

/// Limits for an orchestrator and a few scrapers, which open one or two connections each.
fn limits() -> Limits {
    Limits {
        connections: 64,
        connections_per_address: 32,
        ..Limits::default()
    }
}

fn routes(state: AdminState) -> Router {
    Router::new()
        .route("/health", get(async || "alive\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(text))
        .layer(from_fn(with_host))
        .with_state(state)
}

async fn with_host(request: Request, next: Next) -> Response {
    match http::check_host(request.version(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// Returns 200 or 503, and in both cases a body with the state of each check.
async fn ready(State(state): State<AdminState>) -> Response {
    let (ready, report) = state.health.report();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report)).into_response()
}

async fn text(State(state): State<AdminState>) -> Response {
    match metrics::text(&state.metrics) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
