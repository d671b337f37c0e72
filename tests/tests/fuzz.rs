//! Tests the API against its OpenAPI document, with requests that the document allows and requests that it forbids.

use anyhow::{Context, Result, ensure};
use rollcall::log_folder;
use rollcall::servers::Servers;
use rollcall::system::{Options, System};
use tokio::process::Command;

const SECONDS: &str = "45";

#[tokio::test(flavor = "multi_thread")]
async fn every_response_is_as_documented() -> Result<()> {
    let system = System::start(Servers::from_env()?, Options::isolated(log_folder("fuzz")), |_| {}).await?;
    let gateway = system.gateways()[0].clone();
    let admin = system.admin().await?;
    let token = admin.token().context("the admin has no token")?;

    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/fuzz-api"))
        // The same requests in every run, so a failure can be repeated.
        .args([&gateway, SECONDS, "--generation-deterministic"])
        .env("ROLLCALL_TOKEN", token)
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "a response is not as documented:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );

    let failures = system.stop().await?;
    ensure!(failures.is_empty(), "the drain failed: {failures:?}");
    Ok(())
}
