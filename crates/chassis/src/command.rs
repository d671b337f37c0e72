//! Commands of every service's executable.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::settings::{self, Presence, Reader, Settings};
use crate::signals::Signals;
use crate::{Admin, Exit, Process, Supervisor, healthcheck, telemetry};

/// Maximum time for sending the last spans after the drain.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time for unsupervised work after the drain: scrapes in progress, blocking threads.
const UNSUPERVISED_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a complete service: settings, telemetry, admin port, signals, supervision, drain, exit code.
///
/// - `config` describes the service's settings; see [`settings`].
/// - `migrate` brings the service's own store up to date, and returns.
/// - `run` opens connections, runs its boot checks, spawns named tasks, and returns. An error means that the
///   service cannot start: exit code 69.
///
/// The command line selects one of them: [`USAGE`].
pub fn main<C>(
    name: &'static str,
    version: &'static str,
    config: impl FnOnce(&mut Reader) -> C,
    migrate: impl AsyncFnOnce(C) -> anyhow::Result<()>,
    run: impl AsyncFnOnce(C, Process) -> anyhow::Result<()>,
) -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.to_str()).collect();
    let settings = Settings::from_env();
    let exit = match arguments[..] {
        [] | [Some("run")] => with_config(name, &settings, config, |chassis, config| {
            start(name, version, chassis, async |process| run(config, process).await)
        }),
        [Some("migrate")] => with_config(name, &settings, config, |chassis, config| {
            once(name, version, chassis, async || migrate(config).await)
        }),
        [Some("healthcheck")] => check(name, &settings),
        [Some("settings")] => print(&list(&settings::describe(|read| {
            (Config::from_settings(read), config(read))
        }))),
        [Some("--version" | "-V")] => print(&format!("{name} {version}\n")),
        [Some("--help" | "-h")] => print(&format!("{name} {version}\n\n{USAGE}")),
        _ => {
            eprint!("{name}: unknown command\n\n{USAGE}");
            Exit::Usage
        }
    };
    exit.into()
}

/// Help text: the commands and exit codes of every service.
pub const USAGE: &str = "\
Commands:
  run           (default) run the service until SIGTERM or SIGINT, then drain
  migrate       bring the service's store up to date
  healthcheck   check through the admin port whether the running service is ready
  settings      list the environment variables of the service

Exit codes:
  0   success
  1   healthcheck: not ready
  64  unknown command
  69  a dependency is unavailable, or a boot check failed
  70  a task ended unexpectedly, or could not be drained in time
  78  settings are missing or invalid
";

/// Settings of every service.
#[derive(Debug)]
struct Config {
    admin: SocketAddr,
    telemetry: telemetry::Config,
    grace: Duration,
}

impl Config {
    fn from_settings(read: &mut Reader) -> Config {
        Config {
            admin: admin_address(read),
            grace: read.or("SHUTDOWN_TIMEOUT_MS", "25000", "maximum duration of the drain"),
            telemetry: telemetry::Config::from_settings(read),
        }
    }
}

fn admin_address(read: &mut Reader) -> SocketAddr {
    read.or(
        "ADMIN_LISTEN",
        "127.0.0.1:9464",
        "address that serves /health, /ready and /metrics",
    )
}

/// Reads all settings and calls `act` only if all are valid, so nothing is opened otherwise.
fn with_config<C>(
    name: &str,
    settings: &Settings,
    config: impl FnOnce(&mut Reader) -> C,
    act: impl FnOnce(Config, C) -> Exit,
) -> Exit {
    match settings.read(|read| (Config::from_settings(read), config(read))) {
        Ok((chassis, config)) => act(chassis, config),
        Err(error) => {
            // Telemetry is not initialized yet, because its settings may be invalid too.
            eprintln!("{name}: settings are missing or invalid\n{error}");
            Exit::Config
        }
    }
}

fn start(
    name: &'static str,
    version: &'static str,
    config: Config,
    run: impl AsyncFnOnce(Process) -> anyhow::Result<()>,
) -> Exit {
    within_runtime(name, async {
        let supervisor = Supervisor::new(name, version, config.grace);
        let process = supervisor.process().clone();
        let telemetry = match telemetry::init(name, version, process.instance(), &config.telemetry) {
            Ok(telemetry) => telemetry,
            Err(error) => return failed(name, Exit::Config, error.into()),
        };
        log_panics();
        let exit = serve(config.admin, supervisor, process, telemetry, run).await;
        exit.unwrap_or_else(|error| failed(name, Exit::Unavailable, error))
    })
}

async fn serve(
    admin: SocketAddr,
    supervisor: Supervisor,
    process: Process,
    telemetry: telemetry::Guard,
    run: impl AsyncFnOnce(Process) -> anyhow::Result<()>,
) -> anyhow::Result<Exit> {
    let name = process.name();
    let mut signals = Signals::install().context("cannot install the signal handlers")?;
    let admin = Admin::bind(admin)
        .await
        .with_context(|| format!("cannot listen on {admin} (ADMIN_LISTEN)"))?;
    tracing::info!(
        service.version = process.version(),
        service.instance.id = %process.instance(),
        "{name} is starting; its admin port is {}",
        admin.address(),
    );
    let stop_admin = CancellationToken::new();
    let admin = admin.serve(
        process.health(),
        process.metrics().clone(),
        stop_admin.clone().cancelled_owned(),
    );
    let admin = tokio::spawn(admin);

    let exit = supervisor.supervise(run(process), async || signals.next().await).await;

    telemetry.shutdown(FLUSH_TIMEOUT).await;
    stop_admin.cancel();
    // The shutdown of the runtime ends a scrape that hangs.
    let _ = tokio::time::timeout(UNSUPERVISED_TIMEOUT, admin).await;
    tracing::info!(exit_code = exit.code(), "{name} has stopped");
    Ok(exit)
}

fn once(
    name: &'static str,
    version: &'static str,
    config: Config,
    act: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> Exit {
    within_runtime(name, async {
        let telemetry = match telemetry::init(name, version, Uuid::now_v7(), &config.telemetry) {
            Ok(telemetry) => telemetry,
            Err(error) => return failed(name, Exit::Config, error.into()),
        };
        log_panics();
        let exit = match act().await {
            Ok(()) => Exit::Success,
            Err(error) => failed(name, Exit::Unavailable, error),
        };
        telemetry.shutdown(FLUSH_TIMEOUT).await;
        exit
    })
}

fn within_runtime(name: &'static str, act: impl Future<Output = Exit>) -> Exit {
    let runtime: Runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(name, Exit::Unavailable, error.into()),
    };
    let exit = runtime.block_on(act);
    runtime.shutdown_timeout(UNSUPERVISED_TIMEOUT);
    exit
}

fn failed(name: &str, exit: Exit, error: anyhow::Error) -> Exit {
    let error = format!("{error:#}");
    tracing::error!(error, "{name} stops because of an error: {error}");
    exit
}

/// Logs panics like all other log lines, in the same format.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let location = panic.location().map(ToString::to_string);
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(code.location = location, backtrace, "panicked: {message}");
    }));
}

fn check(name: &str, settings: &Settings) -> Exit {
    let admin = match settings.read(admin_address) {
        Ok(admin) => admin,
        Err(error) => {
            eprintln!("{name}: {error}");
            return Exit::Config;
        }
    };
    match healthcheck(admin) {
        Ok(()) => print(&format!("{name} is ready\n")),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            Exit::Unhealthy
        }
    }
}

fn list(settings: &[settings::Setting]) -> String {
    let width = settings
        .iter()
        .map(|setting| setting.name.len())
        .max()
        .unwrap_or_default();
    let line = |setting: &settings::Setting| {
        let (name, description, sample) = (setting.name, setting.description, &setting.sample);
        let presence = match setting.presence {
            Presence::Required => format!("required, e.g. {sample}"),
            Presence::Optional => format!("optional, e.g. {sample}"),
            Presence::Default => format!("default {sample}"),
        };
        format!("{name:width$}  {description} ({})\n", presence.trim_end())
    };
    settings.iter().map(line).collect()
}

fn print(text: &str) -> Exit {
    // A reader that closes the pipe early is not an error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Exit::Success
}
