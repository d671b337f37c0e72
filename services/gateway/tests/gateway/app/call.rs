//! A request to the gateway, and its response.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use super::{Gateway, Person, uuid};

/// A request that is being built.
pub(crate) struct Call<'a> {
    gateway: &'a Gateway,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    from: Option<SocketAddr>,
    hostless: bool,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl<'a> Call<'a> {
    pub(super) fn new(gateway: &'a Gateway, method: Method, path: String) -> Self {
        Self {
            gateway,
            method,
            path,
            headers: Vec::new(),
            body: None,
            from: None,
            hostless: false,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn by(self, person: &Person) -> Self {
        self.header("authorization", format!("Bearer {}", person.token))
    }

    /// Sends no `Host` header unless the test sets one.
    pub(crate) fn hostless(mut self) -> Self {
        self.hostless = true;
        self
    }

    /// Sets the address of the client.
    pub(crate) fn from(mut self, address: &str) -> Self {
        self.from = Some(SocketAddr::new(address.parse().expect("an address"), 4_711));
        self
    }

    /// Sets how many seconds the request waits for the outcome.
    pub(crate) fn wait(self, seconds: u64) -> Self {
        self.header("prefer", format!("wait={seconds}"))
    }

    pub(crate) fn json(self, body: Value) -> Self {
        self.raw("application/json", body.to_string())
    }

    pub(crate) fn raw(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body(body).header("content-type", content_type)
    }

    /// Sets a body without a media type.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub(crate) async fn send(self) -> Response {
        let mut request = Request::builder().method(self.method).uri(self.path);
        if !self.hostless {
            request = request.header("host", "gateway.test");
        }
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if let Some(from) = self.from {
            request = request.extension(ConnectInfo(from));
        }
        let request = request
            .body(Body::from(self.body.unwrap_or_default()))
            .expect("a valid request");
        let response = self
            .gateway
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("the router never fails");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("the body is complete");
        Response {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body))),
        }
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("there is no header {name}: {self:?}"));
        value.to_str().expect("a string")
    }

    pub(crate) fn id(&self) -> Uuid {
        uuid(&self.body["id"])
    }

    pub(crate) fn code(&self) -> &str {
        self.body["code"]
            .as_str()
            .unwrap_or_else(|| panic!("the response is not a problem: {self:?}"))
    }

    /// Returns the invalid fields with their codes.
    pub(crate) fn field_errors(&self) -> Vec<(&str, &str)> {
        let errors = self.body["errors"]
            .as_array()
            .unwrap_or_else(|| panic!("the problem has no errors: {self:?}"));
        let text = |value: &'_ Value| -> &str {
            value
                .as_str()
                .map_or("", |text| Box::leak(text.to_owned().into_boxed_str()))
        };
        errors
            .iter()
            .map(|error| (text(&error["field"]), text(&error["code"])))
            .collect()
    }

    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }
}
