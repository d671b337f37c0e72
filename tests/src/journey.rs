//! The main job, played through the public API: an organizer publishes an event with one seat, one person gets
//! it, the next waits, a cancellation promotes them; mails arrive, and the audit trail shows it all.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use contracts::Timestamp;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Answer, Client};
use crate::mails::{self, Mail};
use crate::system::{Secrets, System};

/// How long one step may take, however slow the machine is and whoever was just killed.
const STEP: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse battery staple";

/// Somebody of the journey.
pub struct Person {
    pub name: &'static str,
    pub email: String,
    pub id: String,
    pub client: Client,
}

/// What a step shows.
pub struct Step {
    pub what: String,
    pub took: Duration,
    pub trace_id: Option<String>,
}

/// The journey under way. Each method is one step, and reports itself.
pub struct Journey<'a> {
    anonymous: Client,
    run: String,
    report: Box<dyn FnMut(Step) + 'a>,
}

/// What the journey left behind.
pub struct Outcome {
    pub organizer: Person,
    pub first: Person,
    pub second: Person,
    pub event: String,
    /// The trace of the second registration. The first one may come before its event, and what is deferred goes on in
    /// a trace of its own.
    pub registration_trace: Option<String>,
}

/// The mails that the journey sends, by recipient.
pub const MAILS: usize = 10;

impl<'a> Journey<'a> {
    /// At one gateway process; `report` hears of every step as it is done.
    pub fn new(gateway: &str, report: impl FnMut(Step) + 'a) -> Self {
        let run = Uuid::now_v7().simple().to_string();
        Self {
            anonymous: Client::new(gateway),
            run: run[run.len() - 8..].to_owned(),
            report: Box::new(report),
        }
    }

    /// Goes on while services are killed and started again.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.anonymous = self.anonymous.patient(STEP);
        self
    }

    /// All of it.
    pub async fn play(&mut self, system: &System) -> Result<Outcome> {
        self.play_as(system.secrets()).await
    }

    /// The same, where the system itself is in other hands.
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
        let begun = Instant::now();
        let answer = self.anonymous.post("/v1/users", body).await?;
        let trace_id = answer.trace_id.clone();
        let id = self.outcome(answer, "users").await?;
        self.done(format!("{name} signed up"), begun, trace_id);
        let begun = Instant::now();
        let client = self.anonymous.sign_in(&email, PASSWORD).await?;
        self.done(format!("{name} signed in"), begun, None);
        Ok(Person {
            name,
            email,
            id,
            client,
        })
    }

    /// The administrator grants the role; the organizer signs in again to have it.
    pub async fn make_organizer(&mut self, secrets: &Secrets, person: Person) -> Result<Person> {
        let begun = Instant::now();
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
        self.done(format!("{} may organize and audit", person.name), begun, None);
        Ok(Person { client, ..person })
    }

    /// An event with one seat and a waiting list, published.
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
        let begun = Instant::now();
        let answer = organizer.client.post("/v1/events", body).await?;
        let trace_id = answer.trace_id.clone();
        let event = self.outcome_of(organizer, answer, "events").await?;
        self.done(
            format!("{} drafted an event with one seat", organizer.name),
            begun,
            trace_id,
        );
        let begun = Instant::now();
        let answer = organizer
            .client
            .post(&format!("/v1/events/{event}/publish"), json!({}))
            .await?;
        let trace_id = answer.trace_id.clone();
        self.settle(organizer, answer).await?;
        self.done(format!("{} published it", organizer.name), begun, trace_id);
        Ok(event)
    }

    /// Registers, and expects this status. Answers the registration's id and the trace.
    pub async fn register(&mut self, person: &Person, event: &str, status: &str) -> Result<(String, Option<String>)> {
        let begun = Instant::now();
        let answer = person
            .client
            .post(&format!("/v1/events/{event}/registrations"), json!({}))
            .await?;
        let trace_id = answer.trace_id.clone();
        let id = self.outcome_of(person, answer, "registrations").await?;
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
        self.done(format!("{} registered: {status}", person.name), begun, trace_id.clone());
        Ok((id, trace_id))
    }

    pub async fn cancel(&mut self, person: &Person, registration: &str) -> Result<()> {
        let begun = Instant::now();
        let answer = person
            .client
            .delete(&format!("/v1/registrations/{registration}"))
            .await?;
        let trace_id = answer.trace_id.clone();
        self.settle(person, answer).await?;
        self.done(format!("{} cancelled", person.name), begun, trace_id);
        Ok(())
    }

    /// Waits until the registration has a seat.
    pub async fn promoted(&mut self, person: &Person, registration: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let answer = person.client.get(&format!("/v1/registrations/{registration}")).await?;
            if answer.status == StatusCode::OK && answer.body["status"] == "confirmed" {
                break;
            }
            ensure!(
                begun.elapsed() < STEP,
                "{} was not promoted: {}",
                person.name,
                answer.body
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.done(format!("{} moved up from the waiting list", person.name), begun, None);
        Ok(())
    }

    /// Waits for the mails of the whole journey, and checks that each came once.
    pub async fn mails(&mut self, maildev: &str, outcome: &Outcome) -> Result<Vec<Mail>> {
        let begun = Instant::now();
        let people = [&outcome.organizer, &outcome.first, &outcome.second];
        let addresses = people.map(|person| person.email.clone());
        let mails = mails::arrived(maildev, &addresses, MAILS, STEP).await?;
        mails::each_once(&mails, MAILS)?;
        self.done(format!("{MAILS} mails arrived, each once"), begun, None);
        Ok(mails)
    }

    /// The audit entries of the event, once the promotion is among them.
    pub async fn audit(&mut self, outcome: &Outcome) -> Result<Vec<Value>> {
        let begun = Instant::now();
        let path = format!("/v1/audit/entries?aggregate_id={}&limit=200", outcome.event);
        loop {
            let answer = outcome.organizer.client.get(&path).await?.expect(StatusCode::OK)?;
            let entries = answer.body["items"].as_array().context("the answer has items")?.clone();
            if entries
                .iter()
                .any(|entry| entry["type"] == "rollcall.registrations.SeatPromoted")
            {
                self.done(
                    format!("the audit trail has {} entries of the event", entries.len()),
                    begun,
                    None,
                );
                return Ok(entries);
            }
            ensure!(
                begun.elapsed() < STEP,
                "the audit trail lacks the promotion: {entries:#?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn outcome(&self, answer: Answer, collection: &str) -> Result<String> {
        created(self.anonymous.settled(answer, STEP).await?, collection)
    }

    async fn outcome_of(&self, person: &Person, answer: Answer, collection: &str) -> Result<String> {
        created(person.client.settled(answer, STEP).await?, collection)
    }

    async fn settle(&self, person: &Person, answer: Answer) -> Result<()> {
        let answer = person.client.settled(answer, STEP).await?.expect(StatusCode::OK)?;
        let status = answer.body["status"].as_str().unwrap_or_default();
        ensure!(
            !["rejected", "failed"].contains(&status),
            "the operation was refused: {}",
            answer.body
        );
        Ok(())
    }

    fn done(&mut self, what: String, begun: Instant, trace_id: Option<String>) {
        (self.report)(Step {
            what,
            took: begun.elapsed(),
            trace_id,
        });
    }
}

/// The id of what was made: from the resource, or from the operation that made it later.
fn created(answer: Answer, collection: &str) -> Result<String> {
    match answer.status {
        StatusCode::CREATED => answer.text("id"),
        StatusCode::OK => {
            ensure!(
                answer.body["status"] == "succeeded",
                "the operation ended so: {}",
                answer.body
            );
            let location = answer.text("resource")?;
            let id = location
                .strip_prefix(&format!("/v1/{collection}/"))
                .context("`resource` names what was made")?;
            Ok(id.to_owned())
        }
        status => anyhow::bail!("expected 201, got {status}: {}", answer.body),
    }
}
