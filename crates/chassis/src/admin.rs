//! The admin port: `/health`, `/ready` and `/metrics`, read-only, for orchestrators and scrapers.
//!
//! It has no authentication. It listens on the loopback interface unless `ADMIN_LISTEN` says otherwise, and
//! belongs on no public network.

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

/// The admin port, bound and not yet answering.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Debug, Clone)]
struct Shown {
    health: Health,
    metrics: Registry,
}

impl Admin {
    /// Port 0 finds a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Admin> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Admin { listener, address })
    }

    /// Where it listens: the port that was found, if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` completes, within its own [`Limits`], and finishes the requests in flight.
    pub async fn serve(self, health: Health, metrics: Registry, stop: impl Future<Output = ()> + Send + 'static) {
        let routes = routes(Shown { health, metrics });
        serve(self.listener, routes, limits(), Some, stop).await;
    }
}

/// An orchestrator and a few scrapers connect, each with one or two connections.
fn limits() -> Limits {
    Limits {
        connections: 64,
        connections_per_address: 32,
        ..Limits::default()
    }
}

fn routes(shown: Shown) -> Router {
    Router::new()
        .route("/health", get(async || "alive\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(text))
        .layer(from_fn(with_host))
        .with_state(shown)
}

async fn with_host(request: Request, next: Next) -> Response {
    match http::check_host(request.version(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// 200 or 503; the body says what is down, either way.
async fn ready(State(shown): State<Shown>) -> Response {
    let (ready, report) = shown.health.report();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report)).into_response()
}

async fn text(State(shown): State<Shown>) -> Response {
    match metrics::text(&shown.metrics) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics can't be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
