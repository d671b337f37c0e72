//! The main use case, with real processes and servers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rollcall::journey::Journey;
use rollcall::servers::Servers;
use rollcall::system::{Options, System};
use rollcall::{log_folder, traces};

#[tokio::test(flavor = "multi_thread")]
async fn the_journey_succeeds_from_sign_up_to_the_audit_trail() -> Result<()> {
    let options = Options::isolated(log_folder("journey"));
    let system = System::start(Servers::from_env()?, options, |_| {}).await?;
    let gateway = system.gateways()[0].clone();
    let mut journey = Journey::new(&gateway, |_| {});

    let outcome = journey.play(&system).await?;
    journey.mails(&system.servers.maildev, &outcome).await?;
    let entries = journey.audit(&outcome).await?;

    let types: Vec<_> = entries.iter().filter_map(|entry| entry["type"].as_str()).collect();
    for expected in [
        "rollcall.events.commands.CreateEvent",
        "rollcall.events.EventPublished",
        "rollcall.registrations.commands.FollowEvent",
        "rollcall.registrations.SeatConfirmed",
        "rollcall.registrations.SeatWaitlisted",
        "rollcall.registrations.RegistrationCancelled",
        "rollcall.registrations.SeatPromoted",
    ] {
        ensure!(
            types.contains(&expected),
            "the audit trail does not contain {expected}: {types:?}"
        );
    }
    let jaeger = system
        .servers
        .jaeger
        .as_deref()
        .context("JAEGER_QUERY_URL is not set")?;
    let trace = outcome
        .registration_trace
        .as_deref()
        .context("the response has no trace id")?;
    traces::complete(
        jaeger,
        trace,
        &["gateway", "registration", "notification"],
        Duration::from_secs(30),
    )
    .await?;

    third_party_clients_read_every_record(&system.topic_prefix).await?;

    drop(journey);
    let failures = system.stop().await?;
    ensure!(failures.is_empty(), "the drain failed: {failures:?}");
    Ok(())
}

/// Decodes every record of every topic through the registry, with clients that do not contain Rollcall's code.
async fn third_party_clients_read_every_record(prefix: &str) -> Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/third-party-clients");
    let output = tokio::process::Command::new(script)
        .args(["--prefix", prefix])
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "a third-party client cannot read the records:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
