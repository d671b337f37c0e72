use std::process::ExitCode;

use chassis::Process;
use event::config::Config;
use event::{MIGRATIONS, subscriptions};
use messaging::Messaging;
use postgres::Postgres;

fn main() -> ExitCode {
    chassis::main("event", env!("CARGO_PKG_VERSION"), Config::from_settings, migrate, run)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    Ok(postgres::migrate(&config.database, &MIGRATIONS).await?)
}

async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let ledger = Postgres::open(&config.database, &MIGRATIONS, process.metrics()).await?;
    let messaging = Messaging::connect(&process, config.messaging, ledger).await?;
    messaging.spawn(&process, subscriptions()).await?;
    Ok(())
}
