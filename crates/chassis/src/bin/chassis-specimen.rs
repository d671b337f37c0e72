//! A minimal service whose failures a setting selects. `tests/all/process.rs` runs it as a process.

use std::future::pending;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Context;
use chassis::Process;
use chassis::settings::{Reader, Url, Value};
use opentelemetry::trace::Tracer;

fn main() -> ExitCode {
    chassis::main("specimen", "1.2.3", Config::from_settings, migrate, run)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    tracing::info!(batch = config.batch, "migrated {:?}", config.database);
    Ok(())
}

async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let database = process.health().check("database");
    match config.behaviour {
        Behaviour::CannotStart => return Err(std::io::Error::other("connection refused")).context("no database"),
        Behaviour::NeverUp => database.down("connection refused"),
        _ => database.up(),
    }

    let outputs = process.outputs_token();
    process.spawn_output("relay", async move {
        outputs.cancelled().await;
        drop(opentelemetry::global::tracer("specimen").start("send"));
        tracing::info!("relay drained");
        Ok(())
    });

    let inputs = process.inputs_token();
    process.spawn_input("consumer", async move {
        match config.behaviour {
            Behaviour::Fails => {
                let cause = std::io::Error::other("the broker is unreachable");
                return Err(cause).context("cannot poll");
            }
            Behaviour::Panics => panic!("unknown partition"),
            Behaviour::Ends => return Ok(()),
            Behaviour::Hangs => pending().await,
            _ => inputs.cancelled().await,
        }
        tracing::info_span!("batch", size = 3).in_scope(|| tracing::info!("consumer drained"));
        Ok(())
    });
    Ok(())
}

struct Config {
    database: Url,
    behaviour: Behaviour,
    batch: NonZeroUsize,
}

impl Config {
    fn from_settings(read: &mut Reader) -> Config {
        Config {
            database: read.required("DATABASE_URL", "postgres://127.0.0.1/specimen", "unused database"),
            behaviour: read.or("BEHAVIOUR", "steady", "behaviour to simulate"),
            batch: read.or("BATCH_SIZE", "500", "maximum number of messages in one transaction"),
        }
    }
}

#[derive(Clone, Copy)]
enum Behaviour {
    Steady,
    Fails,
    Panics,
    Ends,
    Hangs,
    NeverUp,
    CannotStart,
}

impl Value for Behaviour {
    fn parse(_: &str, text: &str) -> Result<Behaviour, String> {
        Ok(match text {
            "steady" => Behaviour::Steady,
            "fails" => Behaviour::Fails,
            "panics" => Behaviour::Panics,
            "ends" => Behaviour::Ends,
            "hangs" => Behaviour::Hangs,
            "never-up" => Behaviour::NeverUp,
            "cannot-start" => Behaviour::CannotStart,
            _ => return Err("must be a behaviour".to_owned()),
        })
    }
}
