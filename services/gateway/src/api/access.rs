//! Access control around every route: identifies the principal, applies the rate limits, and records denied access.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use contracts::AccessDenied;

use super::principal::{Identity, identify};
use crate::app::App;
use crate::client;
use crate::error::Error;
use crate::limits::{LimitStatus, TooMany};
use crate::principal::Principal;
use crate::problem::Problem;

pub(super) const RATE_LIMIT: &str = "ratelimit";
pub(super) const RATE_LIMIT_POLICY: &str = "ratelimit-policy";

/// Routes that hash a password or send an e-mail. They count against the limit of sign-ins.
const SIGN_IN_ROUTES: [(Method, &str); 5] = [
    (Method::POST, "/v1/users"),
    (Method::POST, "/v1/sessions"),
    (Method::POST, "/v1/password-resets"),
    (Method::PUT, "/v1/password-resets/{token}"),
    (Method::PUT, "/v1/me/password"),
];
/// Counts against the limit of writes, because an export costs more than most writes.
const EXPORT: &str = "/v1/users/{id}/export";
/// Has a separate limit, because staff check in many attendees within minutes.
const CHECK_IN: &str = "/v1/registrations/{id}/check-in";

/// Middleware around every route.
pub(super) async fn control_access(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let identity = identify(request.headers(), &app).await;
    let principal = identity.principal();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let standings = match take_permits(&app, &request, principal) {
        Ok(standings) => standings,
        Err(error) => {
            let mut response = Error::TooMany(error).into_response();
            set_headers(&mut response, &[]);
            return response;
        }
    };
    request.extensions_mut().insert(identity);
    let mut response = next.run(request).await;
    if let Some(route) = route {
        record_denial(&app, principal, &method, &route, &response);
    }
    set_headers(&mut response, &standings);
    response
}

/// Counts the request against every limit that applies to it.
///
/// # Errors
/// Returns [`TooMany`] for the first limit that is exceeded.
fn take_permits(app: &App, request: &Request, principal: Option<Principal>) -> Result<Vec<LimitStatus>, TooMany> {
    let limits = app.limits();
    let (method, headers) = (request.method(), request.headers());
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
    let address = client::limit_key(client::address(peer, headers, &app.http().trusted_proxies));
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    let mut standings = Vec::new();
    if SIGN_IN_ROUTES
        .iter()
        .any(|(of_route, path)| of_route == method && *path == route)
    {
        standings.extend(limits.sign_ins.take(address)?);
    }
    match principal {
        None => standings.extend(limits.anonymous.take(address)?),
        Some(principal) if route == CHECK_IN => standings.extend(limits.check_ins.take(principal.id)?),
        Some(principal) if !method.is_safe() || route == EXPORT => standings.extend(limits.writes.take(principal.id)?),
        Some(_) => {}
    }
    Ok(standings)
}

/// Publishes `AccessDenied` if the response denies access: for an invalid token, a missing role, or a resource that the
/// principal is not allowed to see.
fn record_denial(app: &App, principal: Option<Principal>, method: &Method, route: &MatchedPath, response: &Response) {
    let Some(problem) = response.extensions().get::<Problem>() else {
        return;
    };
    let is_denied = match problem.status() {
        StatusCode::UNAUTHORIZED => problem.code == "token-invalid",
        StatusCode::FORBIDDEN => true,
        StatusCode::NOT_FOUND => principal.is_some(),
        _ => false,
    };
    if !is_denied {
        return;
    }
    let denied = AccessDenied {
        user_id: principal.map(|principal| principal.id),
        method: method.to_string(),
        route: route.as_str().to_owned(),
        code: problem.code.clone(),
    };
    app.security_log()
        .record(denied.user_id, principal.as_ref().map(Principal::actor), denied);
}

/// Sets the rate limit headers, including those of a limit that a handler exceeded.
fn set_headers(response: &mut Response, standings: &[LimitStatus]) {
    let exceeded = response
        .extensions_mut()
        .remove::<TooMany>()
        .map(|TooMany(standing)| standing);
    let all: Vec<LimitStatus> = standings.iter().copied().chain(exceeded).collect();
    if all.is_empty() {
        return;
    }
    for (name, item) in [
        (RATE_LIMIT_POLICY, LimitStatus::policy as fn(&LimitStatus) -> String),
        (RATE_LIMIT, LimitStatus::state),
    ] {
        let items: Vec<String> = all.iter().map(item).collect();
        if let Ok(value) = HeaderValue::from_str(&items.join(", ")) {
            response.headers_mut().insert(name, value);
        }
    }
}

impl Identity {
    fn principal(&self) -> Option<Principal> {
        match self {
            Self::Authenticated(principal) => Some(*principal),
            Self::Anonymous | Self::InvalidToken(_) | Self::Unavailable(_) => None,
        }
    }
}
