//! The main use case, through the public API: an organizer publishes an event with one seat, one person gets the seat,
//! the next person waits, and a cancellation promotes them. E-mails are received, and the audit trail shows every step.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use contracts::Timestamp;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Client, Response};
use crate::mails::{self, Mail};
use crate::system::{Secrets, System};

/// Time limit of one step, on a slow machine and after a process was killed.
const STEP: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse battery staple";

/// A person of the journey.
pub struct Person {
    pub name: &'static str,
    pub email: String,
    pub id: String,
    pub client: Client,
}

/// The report of one step.
pub struct Step {
    pub description: String,
    pub took: Duration,
    pub trace_id: Option<String>,
}

/// A journey. Each method is one step and reports itself.
pub struct Journey<'a> {
    anonymous: Client,
    run: String,
    report: Box<dyn FnMut(Step) + 'a>,
}

/// The result of a journey.
pub struct Outcome {
    pub organizer: Person,
    pub first: Person,
    pub second: Person,
    pub event: String,
    /// The trace of the second registration. The first registration may arrive before its event, and a deferred command
    /// continues in a separate trace.
    pub registration_trace: Option<String>,
}

/// Number of e-mails that the journey sends.
pub const MAILS: usize = 10;

impl<'a> Journey<'a> {
    /// Creates a journey at one gateway process. `report` is called after each step.
    pub fn new(gateway: &str, report: impl FnMut(Step) + 'a) -> Self {
        let run = Uuid::now_v7().simple().to_string();
        Self {
            anonymous: Client::new(gateway),
            run: run[run.len() - 8..].to_owned(),
            report: Box::new(report),
        }
    }

    /// Makes the journey retry its requests so that it continues while services restart.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.anonymous = self.anonymous.patient(STEP);
        self
    }

    /// Runs every step.
    pub async fn play(&mut self, system: &System) -> Result<Outcome> {
        self.play_as(system.secrets()).await
    }

    /// Runs every step for a caller that does not own the system.
    pub async fn play_as(&mut self, secrets: &Secrets) -> Result<Outcome> {
        let organizer = self.sign_up("ada").await?;
        let organizer = self.make_organizer(secrets, organizer).await?;
        let first = self.sign_up("ben").await?;
        let second = self.sign_up("cleo").await?;
        let event = self.publish_event(&organizer).await?;
        let (seat, _) = self.register(&first, &event, "confirmed").await?;
        let (waiting, registration_trace) = self.register(&second, &event, "waitlisted").await?;
        self.cancel(&first, &seat).await?;
        self.promoted(&second, &waiting).await?;
        Ok(Outcome {
            organizer,
            first,
            second,
            event,
            registration_trace,
        })
    }

    pub async fn sign_up(&mut self, name: &'static str) -> Result<Person> {
        let email = format!("{name}-{}@rollcall.example", self.run);
        let body = json!({
            "email": email,
            "username": format!("{name}_{}", self.run),
            "full_name": format!("{name} of run {}", self.run),
            "date_of_birth": "1990-05-17",
            "password": PASSWORD,
            "time_zone": "Europe/Berlin",
        });
        let started = Instant::now();
        let response = self.anonymous.post("/v1/users", body).await?;
        let trace_id = response.trace_id.clone();
        let id = self.outcome(response, "users").await?;
        self.done(format!("{name} signed up"), started, trace_id);
        let started = Instant::now();
        let client = self.anonymous.sign_in(&email, PASSWORD).await?;
        self.done(format!("{name} signed in"), started, None);
        Ok(Person {
            name,
            email,
            id,
            client,
        })
    }

    /// Grants the roles as the administrator, and signs in again, because a session gets its roles at sign-in.
    pub async fn make_organizer(&mut self, secrets: &Secrets, person: Person) -> Result<Person> {
        let started = Instant::now();
        let admin = self
            .anonymous
            .sign_in(&secrets.admin_email, &secrets.admin_password)
            .await?;
        let roles = json!({ "roles": ["member", "organizer", "auditor"] });
        admin
            .put(&format!("/v1/users/{}/roles", person.id), roles)
            .await?
            .expect(StatusCode::OK)?;
        let client = self.anonymous.sign_in(&person.email, PASSWORD).await?;
        self.done(format!("{} may now organize and audit", person.name), started, None);
        Ok(Person { client, ..person })
    }

    /// Publishes an event with one seat and a waiting list.
    pub async fn publish_event(&mut self, organizer: &Person) -> Result<String> {
        let day = Duration::from_secs(24 * 60 * 60);
        let starts_at = Timestamp::now() + 30 * day;
        let body = json!({
            "title": format!("Rust by the sea {}", self.run),
            "description": "Two days of **talks** and walks.",
            "venue": "Pier 3",
            "starts_at": starts_at.to_string(),
            "ends_at": (starts_at + day).to_string(),
            "time_zone": "Europe/Berlin",
            "capacity": 1,
            "registration_closes_at": (starts_at - day).to_string(),
            "waiting_list": true,
        });
        let started = Instant::now();
        let response = organizer.client.post("/v1/events", body).await?;
        let trace_id = response.trace_id.clone();
        let event = self.outcome_of(organizer, response, "events").await?;
        self.done(
            format!("{} drafted an event with one seat", organizer.name),
            started,
            trace_id,
        );
        let started = Instant::now();
        let response = organizer
            .client
            .post(&format!("/v1/events/{event}/publish"), json!({}))
            .await?;
        let trace_id = response.trace_id.clone();
        self.settle(organizer, response).await?;
        self.done(format!("{} published the event", organizer.name), started, trace_id);
        Ok(event)
    }

    /// Registers, and expects this status. Returns the registration's id and the trace id.
    pub async fn register(&mut self, person: &Person, event: &str, status: &str) -> Result<(String, Option<String>)> {
        let started = Instant::now();
        let response = person
            .client
            .post(&format!("/v1/events/{event}/registrations"), json!({}))
            .await?;
        let trace_id = response.trace_id.clone();
        let id = self.outcome_of(person, response, "registrations").await?;
        let registration = person
            .client
            .get(&format!("/v1/registrations/{id}"))
            .await?
            .expect(StatusCode::OK)?;
        ensure!(
            registration.text("status")? == status,
            "{} is {}, not {status}",
            person.name,
            registration.body
        );
        self.done(
            format!("{} registered: {status}", person.name),
            started,
            trace_id.clone(),
        );
        Ok((id, trace_id))
    }

    pub async fn cancel(&mut self, person: &Person, registration: &str) -> Result<()> {
        let started = Instant::now();
        let response = person
            .client
            .delete(&format!("/v1/registrations/{registration}"))
            .await?;
        let trace_id = response.trace_id.clone();
        self.settle(person, response).await?;
        self.done(format!("{} cancelled", person.name), started, trace_id);
        Ok(())
    }

    /// Waits until the registration has a seat.
    pub async fn promoted(&mut self, person: &Person, registration: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            let response = person.client.get(&format!("/v1/registrations/{registration}")).await?;
            if response.status == StatusCode::OK && response.body["status"] == "confirmed" {
                break;
            }
            ensure!(
                started.elapsed() < STEP,
                "{} was not promoted: {}",
                person.name,
                response.body
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.done(format!("{} moved up from the waiting list", person.name), started, None);
        Ok(())
    }

    /// Waits for the e-mails of the whole journey and checks that each was received once.
    pub async fn mails(&mut self, maildev: &str, outcome: &Outcome) -> Result<Vec<Mail>> {
        let started = Instant::now();
        let people = [&outcome.organizer, &outcome.first, &outcome.second];
        let addresses = people.map(|person| person.email.clone());
        let mails = mails::arrived(maildev, &addresses, MAILS, STEP).await?;
        mails::each_once(&mails, MAILS)?;
        self.done(format!("{MAILS} e-mails were received, each once"), started, None);
        Ok(mails)
    }

    /// Returns the audit entries of the event as soon as they include the promotion.
    pub async fn audit(&mut self, outcome: &Outcome) -> Result<Vec<Value>> {
        let started = Instant::now();
        let path = format!("/v1/audit/entries?aggregate_id={}&limit=200", outcome.event);
        loop {
            let response = outcome.organizer.client.get(&path).await?.expect(StatusCode::OK)?;
            let entries = response.body["items"]
                .as_array()
                .context("the response has no `items`")?
                .clone();
            if entries
                .iter()
                .any(|entry| entry["type"] == "rollcall.registrations.SeatPromoted")
            {
                self.done(
                    format!("the audit trail has {} entries for the event", entries.len()),
                    started,
                    None,
                );
                return Ok(entries);
            }
            ensure!(
                started.elapsed() < STEP,
                "the audit trail does not contain the promotion: {entries:#?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn outcome(&self, response: Response, collection: &str) -> Result<String> {
        created(self.anonymous.settled(response, STEP).await?, collection)
    }

    async fn outcome_of(&self, person: &Person, response: Response, collection: &str) -> Result<String> {
        created(person.client.settled(response, STEP).await?, collection)
    }

    async fn settle(&self, person: &Person, response: Response) -> Result<()> {
        let response = person.client.settled(response, STEP).await?.expect(StatusCode::OK)?;
        let status = response.body["status"].as_str().unwrap_or_default();
        ensure!(
            !["rejected", "failed"].contains(&status),
            "the operation was rejected or failed: {}",
            response.body
        );
        Ok(())
    }

    fn done(&mut self, description: String, started: Instant, trace_id: Option<String>) {
        (self.report)(Step {
            description,
            took: started.elapsed(),
            trace_id,
        });
    }
}

/// Returns the id of the created resource, from the resource itself or from the operation that created it.
fn created(response: Response, collection: &str) -> Result<String> {
    match response.status {
        StatusCode::CREATED => response.text("id"),
        StatusCode::OK => {
            ensure!(
                response.body["status"] == "succeeded",
                "the operation did not succeed: {}",
                response.body
            );
            let location = response.text("resource")?;
            let id = location
                .strip_prefix(&format!("/v1/{collection}/"))
                .with_context(|| format!("`resource` is not a path of {collection}"))?;
            Ok(id.to_owned())
        }
        status => anyhow::bail!("expected 201, got {status}: {}", response.body),
    }
}
