//! The admin port: `/health`, `/ready` and `/metrics`, read-only, for orchestrators and scrapers.
//!
//! It has no authentication. It listens on the loopback interface unless `ADMIN_LISTEN` says otherwise, and
//! belongs on no public network.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::Registry;
use tokio::net::TcpListener;

use crate::{Health, metrics};

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

    /// Answers until `stop` is done, and lets requests that are under way end.
    pub async fn serve(
        self,
        health: Health,
        metrics: Registry,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let routes = routes(Shown { health, metrics });
        axum::serve(self.listener, routes).with_graceful_shutdown(stop).await
    }
}

fn routes(shown: Shown) -> Router {
    Router::new()
        .route("/health", get(async || "alive\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(text))
        .with_state(shown)
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
