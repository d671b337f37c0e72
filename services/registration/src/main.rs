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
    Ok(postgres::migrate(&config.database, &MIGRATIONS).await?)
}

async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let ledger = Postgres::open(&config.database, &MIGRATIONS, process.metrics()).await?;
    let messaging = Messaging::connect(&process, config.messaging, ledger).await?;
    messaging.spawn(&process, subscriptions()).await?;
    Ok(())
}
