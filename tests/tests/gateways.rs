//! Several gateway processes behave as one.

use std::io::Write as _;
use std::net::TcpStream;

use anyhow::{Result, ensure};
use reqwest::StatusCode;
use rollcall::journey::Journey;
use rollcall::log_folder;
use rollcall::servers::Servers;
use rollcall::system::{Options, System};
use serde_json::json;

const ROUNDS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_read_your_writes() -> Result<()> {
    let options = Options::isolated(log_folder("gateways")).replicas("gateway", 3);
    let system = System::start(Servers::from_env()?, options, |_| {}).await?;
    let gateways = system.gateways();
    let mut journey = Journey::new(&gateways[0], |_| {});
    let organizer = journey.sign_up("ada").await?;
    let organizer = journey.make_organizer(system.secrets(), organizer).await?;

    for round in 0..ROUNDS {
        let here = organizer.client.at(&gateways[round % 3]);
        let there = organizer.client.at(&gateways[(round + 1) % 3]);
        let wait = [("prefer", "wait=20")];

        let draft = json!({
            "title": format!("Round {round}"), "description": "", "venue": "Pier 3", "time_zone": "UTC",
            "starts_at": "2099-06-01T10:00:00Z", "ends_at": "2099-06-01T18:00:00Z",
            "registration_closes_at": "2099-06-01T09:00:00Z", "capacity": 5, "waiting_list": true,
        });
        let created = here
            .send(reqwest::Method::POST, "/v1/events", Some(draft), &wait)
            .await?;
        let event = created.expect(StatusCode::CREATED)?.text("id")?;
        let shown = there
            .get(&format!("/v1/events/{event}"))
            .await?
            .expect(StatusCode::OK)?;
        ensure!(
            shown.body["title"] == format!("Round {round}"),
            "another gateway shows {}",
            shown.body
        );

        let publish = format!("/v1/events/{event}/publish");
        there
            .send(reqwest::Method::POST, &publish, Some(json!({})), &wait)
            .await?
            .expect(StatusCode::OK)?;
        let shown = here.get(&format!("/v1/events/{event}")).await?.expect(StatusCode::OK)?;
        ensure!(
            shown.body["status"] == "published",
            "the first gateway shows {}",
            shown.body
        );
    }

    drop(journey);
    // A client that has sent only part of a header must not prevent the drain.
    let mut connections = Vec::new();
    for gateway in &gateways {
        let address = gateway.trim_start_matches("http://");
        let mut connection = TcpStream::connect(address)?;
        connection.write_all(b"GET /v1/events HTTP/1.1\r\nHo")?;
        connections.push(connection);
    }
    let failures = system.stop().await?;
    ensure!(failures.is_empty(), "the drain failed: {failures:?}");
    Ok(())
}
