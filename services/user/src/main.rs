use std::process::ExitCode;

use chassis::Process;
use messaging::Messaging;
use postgres::Postgres;
use user::config::Config;
use user::store::UserStore;
use user::{MIGRATIONS, subscriptions};

fn main() -> ExitCode {
    chassis::main("user", env!("CARGO_PKG_VERSION"), Config::from_settings, migrate, run)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    Ok(postgres::migrate(&config.database, &MIGRATIONS).await?)
}

async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let ledger = Postgres::open(&config.database, &MIGRATIONS, process.metrics()).await?;
    let messaging = Messaging::connect(&process, config.messaging, ledger).await?;
    let store = UserStore::new(config.allowed_email_domains);
    messaging.spawn(&process, subscriptions(store)).await?;
    Ok(())
}
