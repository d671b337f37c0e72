//! The API against its own document: whatever it allows, and whatever it forbids, is answered as it says.

use anyhow::{Context, Result, ensure};
use rollcall::log_folder;
use rollcall::servers::Servers;
use rollcall::system::{Options, System};
use tokio::process::Command;

const SECONDS: &str = "45";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_documented() -> Result<()> {
    let system = System::start(Servers::from_env()?, Options::isolated(log_folder("fuzz")), |_| {}).await?;
    let gateway = system.gateways()[0].clone();
    let admin = system.admin().await?;
    let token = admin.token().context("whoever is signed in has a token")?;

    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/fuzz-api"))
        // The same requests every time: what fails here fails again.
        .args([&gateway, SECONDS, "--generation-deterministic"])
        .env("ROLLCALL_TOKEN", token)
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "an answer is not as documented:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );

    let wrong = system.stop().await?;
    ensure!(wrong.is_empty(), "the drain went wrong: {wrong:?}");
    Ok(())
}
