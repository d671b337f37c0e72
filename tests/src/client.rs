//! A person at the public API.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use uuid::Uuid;

/// Somebody who calls the gateway, signed in or not.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    /// How long a gateway that does not answer is asked again, with the same Idempotency-Key.
    patience: Duration,
}

/// What the gateway answered.
#[derive(Debug)]
pub struct Answer {
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
            .expect("a client without TLS can always be made");
        Self {
            http,
            base: gateway.to_owned(),
            token: None,
            patience: Duration::ZERO,
        }
    }

    /// The same person at another gateway process.
    #[must_use]
    pub fn at(&self, gateway: &str) -> Self {
        Self {
            base: gateway.to_owned(),
            ..self.clone()
        }
    }

    /// A client that asks again while the gateway is being started again.
    #[must_use]
    pub fn patient(&self, patience: Duration) -> Self {
        Self {
            patience,
            ..self.clone()
        }
    }

    /// Signs in; what is called afterwards is called as this person.
    pub async fn sign_in(&self, email: &str, password: &str) -> Result<Self> {
        let credentials = serde_json::json!({ "email": email, "password": password });
        let answer = self
            .post("/v1/sessions", credentials)
            .await?
            .expect(StatusCode::CREATED)?;
        let token = answer.body["access_token"]
            .as_str()
            .context("the answer has no access_token")?;
        Ok(Self {
            token: Some(token.to_owned()),
            ..self.clone()
        })
    }

    /// The access token, of who is signed in.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, None, &[]).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Answer> {
        self.send(Method::POST, path, Some(body), &[]).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Result<Answer> {
        self.send(Method::PUT, path, Some(body), &[]).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(Method::DELETE, path, None, &[]).await
    }

    /// Sends a request with further headers. Writes carry an Idempotency-Key, so that asking again is safe.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer> {
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
            let answer = self.send_once(&method, path, body.as_ref(), &headers).await;
            let again = match &answer {
                Err(_) => true,
                Ok(answer) => {
                    answer.status == StatusCode::SERVICE_UNAVAILABLE
                        || (answer.status == StatusCode::CONFLICT && answer.body["code"] == "operation-in-progress")
                }
            };
            if !again || Instant::now() > deadline {
                return answer;
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
    ) -> Result<Answer> {
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
        let answer = request
            .send()
            .await
            .with_context(|| format!("{method} {path} got no answer"))?;
        let header = |name: &str| {
            answer
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let location = header("location");
        let trace_id = header("traceresponse").and_then(|text| text.split('-').nth(1).map(str::to_owned));
        let status = answer.status();
        let text = answer.text().await?;
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        Ok(Answer {
            status,
            location,
            trace_id,
            body,
        })
    }

    /// Follows an operation that was answered 202 until it has an outcome.
    pub async fn settled(&self, answer: Answer, within: Duration) -> Result<Answer> {
        if answer.status != StatusCode::ACCEPTED {
            return Ok(answer);
        }
        let operation = answer.location.context("a 202 has a Location")?;
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            // A gateway that is just being started again does not answer.
            if let Ok(answer) = self.get(&operation).await
                && answer.status == StatusCode::OK
                && answer.body["status"] != "pending"
            {
                return Ok(answer);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{operation} is still pending after {within:?}")
    }
}

impl Answer {
    /// The answer, if it has this status; else an error with what it says.
    pub fn expect(self, status: StatusCode) -> Result<Self> {
        ensure!(
            self.status == status,
            "expected {status}, got {}: {}",
            self.status,
            self.body
        );
        Ok(self)
    }

    /// A text of the body.
    pub fn text(&self, field: &str) -> Result<String> {
        let value = self.body[field]
            .as_str()
            .with_context(|| format!("no text {field:?} in {}", self.body))?;
        Ok(value.to_owned())
    }
}
