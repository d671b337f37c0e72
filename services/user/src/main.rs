//! The user service: settings, connections, boot checks, then two tasks until SIGTERM.

use std::process::ExitCode;

use anyhow::Context;
use chassis::Process;
use messaging::{Connected, Identity, Metrics};
use postgres::Postgres;
use user::config::Config;
use user::store::Accounts;
use user::{MIGRATIONS, subscriptions};

fn main() -> ExitCode {
    chassis::main("user", env!("CARGO_PKG_VERSION"), Config::from_settings, migrate, run)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    let postgres = Postgres::connect(config.database.as_str(), 1).await?;
    Ok(postgres.migrate(&MIGRATIONS).await?)
}

async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let postgres = Postgres::connect(config.database.as_str(), config.connections).await?;
    postgres.check_migrations(&MIGRATIONS).await?;
    postgres.register_metrics(process.metrics())?;
    let metrics = Metrics::register(process.metrics()).context("a metric's name is taken")?;
    let identity = Identity {
        service: process.name(),
        instance: process.instance(),
        version: process.version(),
    };
    let connected = Connected::connect(identity, config.kafka, config.registry.as_str(), postgres, metrics).await?;
    let accounts = Accounts::new(&config.allowed_email_domains);
    let (relay, listening) = connected
        .listen(subscriptions(accounts), process.health())
        .await?
        .relay();

    // Inputs are drained first, the outbox last.
    let (inputs, outputs) = (process.inputs_token(), process.outputs_token());
    process.spawn_output("relay", async move { Ok(relay.run(outputs).await?) });
    process.spawn_input("consumer", async move { Ok(listening.run(inputs).await?) });
    Ok(())
}
