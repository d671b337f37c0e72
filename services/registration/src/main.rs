use std::process::ExitCode;

use chassis::Process;
use messaging::Messaging;
use postgres::Postgres;
use registration::config::Config;
use registration::{MIGRATIONS, subscriptions};

fn main() -> ExitCode {
    chassis::main(
        "registration",
        env!("CARGO_PKG_VERSION"),
        Config::from_settings,
        migrate,
        run,
    )
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    let ledger = Postgres::connect(config.database.url.as_str(), 1).await?;
    ledger.migrate(&MIGRATIONS).await?;
    Ok(())
}

async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let ledger = Postgres::connect(config.database.url.as_str(), config.database.connections).await?;
    ledger.check_migrations(&MIGRATIONS).await?;
    ledger.register_metrics(process.metrics())?;

    let messaging = Messaging::connect(&process, config.kafka, config.registry.as_str(), ledger).await?;
    messaging.spawn(&process, subscriptions()).await?;
    Ok(())
}
