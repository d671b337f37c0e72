//! The main job, on real processes and servers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rollcall::journey::Journey;
use rollcall::servers::Servers;
use rollcall::system::{Options, System};
use rollcall::{log_folder, traces};

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_from_sign_up_to_the_audit_trail() -> Result<()> {
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
        ensure!(types.contains(&expected), "the audit trail lacks {expected}: {types:?}");
    }
    let jaeger = system
        .servers
        .jaeger
        .as_deref()
        .context("the journey's trace needs Jaeger")?;
    let trace = outcome
        .registration_trace
        .as_deref()
        .context("an answer names its trace")?;
    traces::complete(
        jaeger,
        trace,
        &["gateway", "registration", "notification"],
        Duration::from_secs(30),
    )
    .await?;

    foreign_clients_read_everything(&system.topic_prefix).await?;

    drop(journey);
    let wrong = system.stop().await?;
    ensure!(wrong.is_empty(), "the drain went wrong: {wrong:?}");
    Ok(())
}

/// Every record of every topic, decoded through the registry by clients that know nothing of Rollcall's code.
async fn foreign_clients_read_everything(prefix: &str) -> Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/foreign-clients");
    let output = tokio::process::Command::new(script)
        .args(["--prefix", prefix])
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "a foreign client can't read what was written:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
