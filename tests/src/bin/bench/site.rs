//! A running system with an organizer, members and events: what a load needs.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::{Method, StatusCode};
use rollcall::client::{Client, Response};
use rollcall::journey::Journey;
use rollcall::log_folder;
use rollcall::servers::Servers;
use rollcall::system::{Options, System};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::load::User;
use crate::mail;

const PASSWORD: &str = "correct horse battery staple";
/// Concurrent requests of the preparation.
const AT_ONCE: usize = 16;

/// A running system.
pub(crate) struct Site {
    pub(crate) system: System,
    pub(crate) organizer: User,
    client: Client,
}

impl Site {
    /// Starts the services with additional settings.
    pub(crate) async fn start_with(servers: &Servers, settings: &[(&'static str, &str, &str)]) -> Result<Self> {
        let servers = Servers {
            smtp: mail::start().await?,
            ..servers.clone()
        };
        let mut options = Options::isolated(log_folder("bench"));
        // All clients have one address, sign-ups are part of the preparation, and a long run outlives a token.
        let needed = [
            ("gateway", "HTTP_CONNECTIONS", "4000"),
            ("gateway", "HTTP_CONNECTIONS_PER_ADDRESS", "4000"),
            ("gateway", "PASSWORD_HASHERS", "2"),
            ("gateway", "PASSWORD_QUEUE", "200"),
            ("gateway", "ACCESS_TOKEN_MINUTES", "120"),
        ];
        options.settings = needed
            .iter()
            .chain(settings)
            .map(|(service, name, value)| (*service, (*name).to_owned(), (*value).to_owned()))
            .collect();
        let system = System::start(servers, options, |_| {}).await?;
        let gateway = system.gateways().first().context("the system has no gateway")?.clone();
        let mut journey = Journey::new(&gateway, |_| {});
        let organizer = journey.sign_up("ada").await?;
        let client = journey.make_organizer(system.secrets(), organizer).await?.client;
        drop(journey);
        let address: Arc<str> = gateway.trim_start_matches("http://").into();
        let organizer = User {
            token: token(&client)?,
            address,
        };
        Ok(Self {
            system,
            organizer,
            client,
        })
    }

    /// Returns the gateway's address.
    pub(crate) fn address(&self) -> &str {
        &self.organizer.address
    }

    /// Returns a function that makes requests to draft an event.
    pub(crate) fn drafts(&self) -> impl Fn() -> Vec<u8> + Send + Sync + 'static {
        let (organizer, body) = (self.organizer.clone(), draft().to_string());
        move || organizer.write("/v1/events", &body)
    }

    /// Signs members up and in.
    pub(crate) async fn members(&self, count: usize) -> Result<Vec<User>> {
        let anonymous = Client::new(&format!("http://{}", self.address()));
        stream::iter(0..count)
            .map(|_| self.member(anonymous.clone()))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn member(&self, anonymous: Client) -> Result<User> {
        let unique = Uuid::new_v4().simple().to_string();
        let email = format!("{unique}@rollcall.example");
        let body = json!({
            "email": email,
            "username": format!("u{}", &unique[8..]),
            "full_name": "Ben Benchmark",
            "date_of_birth": "1990-05-17",
            "password": PASSWORD,
            "time_zone": "Europe/Berlin",
        });
        waiting(&anonymous, "/v1/users", body)
            .await?
            .expect(StatusCode::CREATED)?;
        let client = anonymous.sign_in(&email, PASSWORD).await?;
        Ok(User {
            address: Arc::clone(&self.organizer.address),
            token: token(&client)?,
        })
    }

    /// Publishes events with more seats than members, each with one registration, and returns the paths of their
    /// registrations. Registrations then find the event known everywhere.
    pub(crate) async fn published_events(&self, count: usize) -> Result<Vec<String>> {
        stream::iter(0..count)
            .map(|_| self.published_event())
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn published_event(&self) -> Result<String> {
        let created = waiting(&self.client, "/v1/events", draft())
            .await?
            .expect(StatusCode::CREATED)?;
        let event = created.text("id")?;
        waiting(&self.client, &format!("/v1/events/{event}/publish"), json!({}))
            .await?
            .expect(StatusCode::OK)?;
        let path = format!("/v1/events/{event}/registrations");
        waiting(&self.client, &path, json!({}))
            .await?
            .expect(StatusCode::CREATED)?;
        Ok(path)
    }

    /// Stops the processes, and deletes the databases and topics. A slow drain is no error here.
    pub(crate) async fn stop(self) -> Result<()> {
        for failure in self.system.stop().await? {
            eprintln!("    {failure}");
        }
        Ok(())
    }
}

/// Runs `work` on a system, and stops the system even if the work failed.
pub(crate) async fn on_a_site<T>(
    servers: &Servers,
    settings: &[(&'static str, &str, &str)],
    work: impl AsyncFnOnce(&Site) -> Result<T>,
) -> Result<T> {
    let site = Site::start_with(servers, settings).await?;
    let result = work(&site).await;
    site.stop().await?;
    result
}

/// Returns an event with many seats.
pub(crate) fn draft() -> Value {
    json!({
        "title": "A benchmark event", "description": "", "venue": "Pier 3", "time_zone": "UTC",
        "starts_at": "2099-06-01T10:00:00Z", "ends_at": "2099-06-01T18:00:00Z",
        "registration_closes_at": "2099-06-01T09:00:00Z", "capacity": 10_000, "waiting_list": true,
    })
}

async fn waiting(client: &Client, path: &str, body: Value) -> Result<Response> {
    client
        .send(Method::POST, path, Some(body), &[("prefer", "wait=25")])
        .await
}

fn token(client: &Client) -> Result<Arc<str>> {
    let token = client.token().context("the client is not signed in")?;
    ensure!(token.is_ascii(), "the token is not ASCII");
    Ok(token.into())
}
