//! The API tour of the documentation, walked as it is written: what a reader copies works, and no route is left out.

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
async fn the_tour_walks_every_route() -> Result<()> {
    let mut options = Options::isolated(log_folder("tour"));
    // Nobody wants to wait a minute for the checkpoint that a proof needs.
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
    let mut input = shell.stdin.take().context("its input is a pipe")?;
    input.write_all(commands(TOUR).as_bytes()).await?;
    drop(input);
    let output = shell.wait_with_output().await?;
    ensure!(
        output.status.success(),
        "the tour ends early:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );

    let document: Value = reqwest::get(format!("{gateway}/openapi.json")).await?.json().await?;
    let walked = walked(&system).await?;
    let missing: Vec<_> = documented(&document).difference(&walked).cloned().collect();
    ensure!(missing.is_empty(), "the tour leaves out {missing:#?}");

    let wrong = system.stop().await?;
    ensure!(wrong.is_empty(), "the drain went wrong: {wrong:?}");
    Ok(())
}

/// The shell commands of a Markdown document, in order.
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

/// `GET /v1/events/{id}`, …: what the OpenAPI document names.
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

/// The routes that the gateway was asked for, as its metrics count them. That each answer was the right one, the tour sees.
async fn walked(system: &System) -> Result<BTreeSet<String>> {
    let gateways = system.processes().iter().filter(|process| process.service == "gateway");
    let mut walked = BTreeSet::new();
    for process in gateways {
        let metrics = system.metrics(process).await?;
        for (labels, _) in samples(&metrics, "http_server_request_duration_seconds_count") {
            let label = |name: &str| labels.get(name).copied().unwrap_or_default();
            walked.insert(format!("{} {}", label("method"), label("route")));
        }
    }
    Ok(walked)
}
