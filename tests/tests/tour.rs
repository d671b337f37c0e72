//! Runs the commands of the API tour in the documentation, and checks that the tour covers every route.

use std::collections::BTreeSet;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use rollcall::log_folder;
use rollcall::servers::Servers;
use rollcall::system::{Options, System, samples};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const TOUR: &str = include_str!("../../docs/api-tour.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_api_tour_works_and_covers_every_route() -> Result<()> {
    let mut options = Options::isolated(log_folder("tour"));
    // A proof needs a checkpoint, which is written once a minute by default.
    options
        .settings
        .push(("audit", "CHECKPOINT_SECONDS".to_owned(), "1".to_owned()));
    let system = System::start(Servers::from_env()?, options, |_| {}).await?;
    let gateway = system.gateways()[0].clone();

    let mut shell = Command::new("bash")
        .args(["-euo", "pipefail"])
        .env("GATEWAY", &gateway)
        .env("MAILDEV", &system.servers.maildev)
        .env("ADMIN_EMAIL", &system.secrets().admin_email)
        .env("ADMIN_PASSWORD", &system.secrets().admin_password)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the tour needs bash, curl and python3")?;
    let mut input = shell.stdin.take().context("the shell has no input")?;
    input.write_all(commands(TOUR).as_bytes()).await?;
    drop(input);
    let output = shell.wait_with_output().await?;
    ensure!(
        output.status.success(),
        "a command of the tour failed:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );

    let document: Value = reqwest::get(format!("{gateway}/openapi.json")).await?.json().await?;
    let covered = requested(&system).await?;
    let missing: Vec<_> = documented(&document).difference(&covered).cloned().collect();
    ensure!(missing.is_empty(), "the tour does not cover {missing:#?}");

    let failures = system.stop().await?;
    ensure!(failures.is_empty(), "the drain failed: {failures:?}");
    Ok(())
}

/// Returns the shell commands of a Markdown document, in order.
fn commands(markdown: &str) -> String {
    let mut inside = false;
    let mut script = String::new();
    for line in markdown.lines() {
        match line {
            "```bash" => inside = true,
            "```" => inside = false,
            _ if inside => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

/// Returns the routes of the OpenAPI document, as `GET /v1/events/{id}`.
fn documented(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flatten();
            methods
                .filter(|(method, _)| ["get", "post", "put", "patch", "delete"].contains(&method.as_str()))
                .map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
        })
        .collect()
}

/// Returns the routes that received a request, from the gateway's metrics.
async fn requested(system: &System) -> Result<BTreeSet<String>> {
    let gateways = system.processes().iter().filter(|process| process.service == "gateway");
    let mut requested = BTreeSet::new();
    for process in gateways {
        let metrics = system.metrics(process).await?;
        for (labels, _) in samples(&metrics, "http_server_request_duration_seconds_count") {
            let label = |name: &str| labels.get(name).copied().unwrap_or_default();
            requested.insert(format!("{} {}", label("method"), label("route")));
        }
    }
    Ok(requested)
}
