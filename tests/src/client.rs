//! A client of the public API.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use uuid::Uuid;

/// A user of the gateway, signed in or anonymous.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    /// Time for which requests to an unresponsive gateway are retried, with the same Idempotency-Key.
    patience: Duration,
}

/// A response of the gateway.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub location: Option<String>,
    pub trace_id: Option<String>,
    pub body: Value,
}

impl Client {
    pub fn new(gateway: &str) -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client without TLS can always be created");
        Self {
            http,
            base: gateway.to_owned(),
            token: None,
            patience: Duration::ZERO,
        }
    }

    /// Returns the same user as a client of another gateway process.
    #[must_use]
    pub fn at(&self, gateway: &str) -> Self {
        Self {
            base: gateway.to_owned(),
            ..self.clone()
        }
    }

    /// Returns a client that retries requests while the gateway restarts.
    #[must_use]
    pub fn patient(&self, patience: Duration) -> Self {
        Self {
            patience,
            ..self.clone()
        }
    }

    /// Signs in and returns a client that sends requests as this user.
    pub async fn sign_in(&self, email: &str, password: &str) -> Result<Self> {
        let credentials = serde_json::json!({ "email": email, "password": password });
        let response = self
            .post("/v1/sessions", credentials)
            .await?
            .expect(StatusCode::CREATED)?;
        let token = response.body["access_token"]
            .as_str()
            .context("the response has no `access_token`")?;
        Ok(Self {
            token: Some(token.to_owned()),
            ..self.clone()
        })
    }

    /// Returns the access token of a signed-in user.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub async fn get(&self, path: &str) -> Result<Response> {
        self.send(Method::GET, path, None, &[]).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Response> {
        self.send(Method::POST, path, Some(body), &[]).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Result<Response> {
        self.send(Method::PUT, path, Some(body), &[]).await
    }

    pub async fn delete(&self, path: &str) -> Result<Response> {
        self.send(Method::DELETE, path, None, &[]).await
    }

    /// Sends a request with additional headers. Writes carry an Idempotency-Key so that a retry is safe.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<Response> {
        let key = Uuid::new_v4().to_string();
        let mut headers = headers.to_vec();
        let takes_a_key = method != Method::GET && path != "/v1/sessions";
        if takes_a_key
            && !headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"))
        {
            headers.push(("idempotency-key", &key));
        }
        let deadline = Instant::now() + self.patience;
        loop {
            let response = self.send_once(&method, path, body.as_ref(), &headers).await;
            let retry = match &response {
                Err(_) => true,
                Ok(response) => {
                    response.status == StatusCode::SERVICE_UNAVAILABLE
                        || (response.status == StatusCode::CONFLICT && response.body["code"] == "operation-in-progress")
                }
            };
            if !retry || Instant::now() > deadline {
                return response;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn send_once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Response> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request
            .send()
            .await
            .with_context(|| format!("no response to {method} {path}"))?;
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let location = header("location");
        let trace_id = header("traceresponse").and_then(|text| text.split('-').nth(1).map(str::to_owned));
        let status = response.status();
        let text = response.text().await?;
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        Ok(Response {
            status,
            location,
            trace_id,
            body,
        })
    }

    /// Waits for the outcome of an operation if the response is 202.
    pub async fn settled(&self, response: Response, within: Duration) -> Result<Response> {
        if response.status != StatusCode::ACCEPTED {
            return Ok(response);
        }
        let operation = response.location.context("a 202 has no Location")?;
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            // A gateway that restarts does not respond.
            if let Ok(response) = self.get(&operation).await
                && response.status == StatusCode::OK
                && response.body["status"] != "pending"
            {
                return Ok(response);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{operation} is still pending after {within:?}")
    }
}

impl Response {
    /// Returns the response if it has this status, otherwise an error that contains its body.
    pub fn expect(self, status: StatusCode) -> Result<Self> {
        ensure!(
            self.status == status,
            "expected {status}, got {}: {}",
            self.status,
            self.body
        );
        Ok(self)
    }

    /// Returns a text field of the body.
    pub fn text(&self, field: &str) -> Result<String> {
        let value = self.body[field]
            .as_str()
            .with_context(|| format!("no text field {field:?} in {}", self.body))?;
        Ok(value.to_owned())
    }
}
