//! `scripts/demo`: starts all services on the stack, runs the journey, and prints the addresses to visit.

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

/// Services that the trace of a registration must contain.
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
    let mut shutdown = ShutdownSignals::install()?;
    let servers = Servers::from_env()?;
    let folder =
        PathBuf::from(std::env::var("ROLLCALL_DEMO_DIR").context("ROLLCALL_DEMO_DIR is not set; run scripts/demo")?);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let secrets = Secrets::load_or_create(&folder.join("secrets.json"))?;

    title("Starting the services");
    let started = Instant::now();
    let options = Options::of_the_stack(folder.join("logs"), secrets);
    let starting = System::start(servers, options, |progress| {
        println!("  {:>7}  {progress}", seconds(started.elapsed()))
    });
    // The processes that were started so far end with `system`.
    let system = tokio::select! {
        started = starting => started?,
        () = shutdown.received() => bail!("interrupted while the services started"),
    };
    let targets = write_targets(&system)?;
    write_environment(&system, &folder)?;
    let played = tokio::select! {
        played = play(&system) => played,
        () = shutdown.received() => Err(anyhow!("interrupted before the journey was complete")),
    };
    if played.is_ok() {
        print_addresses(&system, &folder);
        if !exit {
            println!("\nPress Ctrl-C to stop the services. `scripts/stack down` stops the servers.");
            shutdown.received().await;
        }
    }
    println!("\nDraining: inputs first, the outbox last.");
    if let Some(targets) = targets {
        // Prometheus would scrape processes that no longer exist.
        std::fs::remove_file(targets)?;
    }
    let failures = system.stop().await?;
    played?;
    ensure!(failures.is_empty(), "the drain failed: {}", failures.join("; "));
    println!("Every step succeeded.");
    Ok(())
}

/// Ctrl-C and SIGTERM. Their default action would end this process alone, and leave the services running.
struct ShutdownSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl ShutdownSignals {
    /// Installs the handlers. From now on, neither signal ends this process.
    fn install() -> Result<Self> {
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
    let gateway = system.gateways().first().context("the system has no gateway")?.clone();
    let mut journey = Journey::new(&gateway, |step| {
        let trace = step.trace_id.map(|id| format!("  trace {id}")).unwrap_or_default();
        println!("  {:>7}  {}{trace}", seconds(step.took), step.description);
    });
    let outcome = journey.play(system).await?;

    title("E-mails");
    for mail in journey.mails(&system.servers.maildev, &outcome).await? {
        println!("           {:<40} {}", mail.to, mail.subject);
    }

    title("Audit trail of the event");
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
        println!("\nJaeger is not running, so the trace cannot be shown.");
        return Ok(());
    };
    title("The trace of the second registration");
    let id = outcome
        .registration_trace
        .as_deref()
        .context("the registration's response has no trace id")?;
    traces::complete(jaeger, id, &TRACED, Duration::from_secs(30)).await?;
    let trace = cli::trace::fetch(jaeger, id)
        .await?
        .context("Jaeger no longer has the trace")?;
    for line in cli::trace::render(&trace, 110).lines() {
        println!("  {line}");
    }
    Ok(())
}

/// Prints the lag of every topic from the processes' metrics, after the lag has become zero.
async fn show_lag(system: &System) -> Result<()> {
    title("Lag");
    let started = Instant::now();
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
        // Status messages are published all the time, so a few of them are always in flight.
        let behind: f64 = lags
            .iter()
            .filter(|((_, topic), _)| !topic.contains("ops."))
            .map(|(_, row)| row.0)
            .sum();
        if behind < 1.0 || started.elapsed() > Duration::from_secs(20) {
            println!(
                "           {:<14} {:<24} {:>9} {:>9}",
                "service", "topic", "messages", "seconds"
            );
            for ((service, topic), (messages, age)) in &lags {
                println!("           {service:<14} {topic:<24} {messages:>9} {age:>9.1}");
            }
            ensure!(behind < 1.0, "{behind} messages have not been applied yet");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn print_addresses(system: &System, folder: &Path) {
    title("Addresses");
    let servers = &system.servers;
    let gateway = system.gateways().first().cloned().unwrap_or_default();
    let mut text = String::new();
    let mut row = |name: &str, address: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "           {name:<12} {address}");
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
    row("e-mails", servers.maildev.clone());
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

/// Writes the variables of the API tour, for a shell to read.
fn write_environment(system: &System, folder: &Path) -> Result<()> {
    let secrets = system.secrets();
    let text = format!(
        "GATEWAY='{}'\nMAILDEV='{}'\nADMIN_EMAIL='{}'\nADMIN_PASSWORD='{}'\n",
        system.gateways().first().context("the system has no gateway")?,
        system.servers.maildev,
        secrets.admin_email,
        secrets.admin_password
    );
    write_for_owner(&folder.join("env"), &text)
}

/// Writes the processes' addresses for Prometheus, if Prometheus is running.
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
        .with_context(|| format!("cannot write {}", file.display()))?;
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
