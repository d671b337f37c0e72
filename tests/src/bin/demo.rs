//! `scripts/demo`: starts all services on the stack, plays the journey, and shows what can be looked at.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rollcall::journey::{Journey, Outcome};
use rollcall::servers::Servers;
use rollcall::system::{Options, Secrets, System, samples, write_for_owner};
use rollcall::traces;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Who must be seen in the trace of a registration.
const TRACED: [&str; 3] = ["gateway", "registration", "notification"];

#[tokio::main]
async fn main() -> ExitCode {
    let exit = std::env::args().any(|argument| argument == "--exit");
    match demo(exit).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(exit: bool) -> Result<()> {
    let mut asked = Asked::listen()?;
    let servers = Servers::from_env()?;
    let folder =
        PathBuf::from(std::env::var("ROLLCALL_DEMO_DIR").context("ROLLCALL_DEMO_DIR is not set; run scripts/demo")?);
    std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let secrets = Secrets::kept_in(&folder.join("secrets.json"))?;

    title("Starting the services");
    let begun = Instant::now();
    let options = Options::of_the_stack(folder.join("logs"), secrets);
    let starting = System::start(servers, options, |what| {
        println!("  {:>7}  {what}", seconds(begun.elapsed()))
    });
    // What was started so far ends with it.
    let system = tokio::select! {
        started = starting => started?,
        () = asked.received() => bail!("it was ended while it started"),
    };
    let targets = write_targets(&system)?;
    write_environment(&system, &folder)?;
    let played = tokio::select! {
        played = play(&system) => played,
        () = asked.received() => Err(anyhow!("it was ended before it was through")),
    };
    if played.is_ok() {
        where_to_look(&system, &folder);
        if !exit {
            println!("\nCtrl-C ends the services; `scripts/stack down` ends the servers.");
            asked.received().await;
        }
    }
    println!("\nDraining: inputs first, the outbox last.");
    if let Some(targets) = targets {
        // Prometheus would ask processes that are gone.
        std::fs::remove_file(targets)?;
    }
    let wrong = system.stop().await?;
    played?;
    ensure!(wrong.is_empty(), "the drain went wrong: {}", wrong.join("; "));
    println!("Every step checked out.");
    Ok(())
}

/// Ctrl-C, or the SIGTERM of whoever runs this. Either would end this process alone, and leave the services.
struct Asked {
    interrupt: Signal,
    terminate: Signal,
}

impl Asked {
    /// From here on, neither ends this process by itself.
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn play(system: &System) -> Result<()> {
    title("The journey, through the public API");
    let gateway = system.gateways().first().context("a system has a gateway")?.clone();
    let mut journey = Journey::new(&gateway, |step| {
        let trace = step.trace_id.map(|id| format!("  trace {id}")).unwrap_or_default();
        println!("  {:>7}  {}{trace}", seconds(step.took), step.what);
    });
    let outcome = journey.play(system).await?;

    title("Mails");
    for mail in journey.mails(&system.servers.maildev, &outcome).await? {
        println!("           {:<40} {}", mail.to, mail.subject);
    }

    title("The audit trail of the event");
    for entry in journey.audit(&outcome).await? {
        let text = |field: &str| entry[field].as_str().unwrap_or("").to_owned();
        println!("           {:<28} {:<48} {}", text("time"), text("type"), text("actor"));
    }
    drop(journey);

    show_trace(system, &outcome).await?;
    show_lag(system).await
}

async fn show_trace(system: &System, outcome: &Outcome) -> Result<()> {
    let Some(jaeger) = &system.servers.jaeger else {
        println!("\nJaeger was left out, so there is no trace to show.");
        return Ok(());
    };
    title("The trace of the second registration");
    let id = outcome
        .registration_trace
        .as_deref()
        .context("the registration's answer names its trace")?;
    traces::complete(jaeger, id, &TRACED, Duration::from_secs(30)).await?;
    let trace = cli::trace::fetch(jaeger, id)
        .await?
        .context("Jaeger had the trace a moment ago")?;
    for line in cli::trace::render(&trace, 110).lines() {
        println!("  {line}");
    }
    Ok(())
}

/// Lag of every topic, as the processes' metrics show it; waits until it is gone.
async fn show_lag(system: &System) -> Result<()> {
    title("Lag");
    let begun = Instant::now();
    loop {
        let mut lags: BTreeMap<(String, String), (f64, f64)> = BTreeMap::new();
        for process in system.processes() {
            let metrics = system.metrics(process).await?;
            let mut add = |metric: &str, seconds: bool| {
                for (labels, value) in samples(&metrics, metric) {
                    let topic = labels.get("topic").copied().unwrap_or_default().to_owned();
                    let row = lags.entry((process.service.to_owned(), topic)).or_default();
                    if seconds {
                        row.1 = row.1.max(value);
                    } else {
                        row.0 += value;
                    }
                }
            };
            add("rollcall_consumer_lag_messages", false);
            add("rollcall_consumer_lag_seconds", true);
        }
        // Statuses and audit's own log keep coming; a handful is always on its way.
        let behind: f64 = lags
            .iter()
            .filter(|((_, topic), _)| !topic.contains("ops."))
            .map(|(_, row)| row.0)
            .sum();
        if behind < 1.0 || begun.elapsed() > Duration::from_secs(20) {
            println!(
                "           {:<14} {:<24} {:>9} {:>9}",
                "service", "topic", "messages", "seconds"
            );
            for ((service, topic), (messages, age)) in &lags {
                println!("           {service:<14} {topic:<24} {messages:>9} {age:>9.1}");
            }
            ensure!(behind < 1.0, "{behind} messages are still not applied");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn where_to_look(system: &System, folder: &Path) {
    title("Where to look");
    let servers = &system.servers;
    let gateway = system.gateways().first().cloned().unwrap_or_default();
    let mut text = String::new();
    let mut row = |what: &str, address: String| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "           {what:<12} {address}");
    };
    row("API docs", format!("{gateway}/docs"));
    row(
        "API tour",
        format!("docs/api-tour.md, after `. {}`", folder.join("env").display()),
    );
    row("OpenAPI", format!("{gateway}/openapi.json"));
    row(
        "admin",
        format!(
            "{} / the password is in {}",
            system.secrets().admin_email,
            folder.join("secrets.json").display()
        ),
    );
    row("mails", servers.maildev.clone());
    if let Some(jaeger) = &servers.jaeger {
        row("Jaeger", jaeger.clone());
    }
    if let Some(prometheus) = &servers.prometheus {
        row("Prometheus", prometheus.clone());
    }
    for process in system.processes() {
        row(
            process.service,
            format!(
                "http://127.0.0.1:{}/metrics  {}",
                process.admin_port,
                system.log(&process.name).display()
            ),
        );
    }
    print!("{text}");
}

/// What the API tour needs to know, for a shell to read.
fn write_environment(system: &System, folder: &Path) -> Result<()> {
    let secrets = system.secrets();
    let text = format!(
        "GATEWAY='{}'\nMAILDEV='{}'\nADMIN_EMAIL='{}'\nADMIN_PASSWORD='{}'\n",
        system.gateways().first().context("a system has a gateway")?,
        system.servers.maildev,
        secrets.admin_email,
        secrets.admin_password
    );
    write_for_owner(&folder.join("env"), &text)
}

/// Tells Prometheus where the processes are, where it runs.
fn write_targets(system: &System) -> Result<Option<PathBuf>> {
    let Some(folder) = &system.servers.prometheus_targets else {
        return Ok(None);
    };
    let targets: Vec<_> = system
        .processes()
        .iter()
        .map(|process| {
            json!({ "targets": [format!("127.0.0.1:{}", process.admin_port)], "labels": { "service": process.service } })
        })
        .collect();
    let file = Path::new(folder).join("rollcall.json");
    std::fs::write(&file, serde_json::to_string_pretty(&targets)?)
        .with_context(|| format!("{} can't be written", file.display()))?;
    Ok(Some(file))
}

fn title(text: &str) {
    println!("\n{text}");
}

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
