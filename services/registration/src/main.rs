use std::process::ExitCode;

use chassis::Process;
use messaging::{Connected, Identity, Metrics};
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
    let ledger = Postgres::connect(config.database.as_str(), 1).await?;
    ledger.migrate(&MIGRATIONS).await?;
    Ok(())
}

async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let ledger = Postgres::connect(config.database.as_str(), config.connections).await?;
    ledger.check_migrations(&MIGRATIONS).await?;
    ledger.register_metrics(process.metrics())?;

    let identity = Identity {
        service: process.name(),
        instance: process.instance(),
        version: process.version(),
    };
    let metrics = Metrics::register(process.metrics())?;
    let connected = Connected::connect(identity, config.kafka, config.registry.as_str(), ledger, metrics).await?;

    let (relay, listening) = connected.listen(subscriptions(), process.health()).await?.relay();

    // The relay drains last: what the consumer committed is still published.
    let (inputs, outputs) = (process.inputs_token(), process.outputs_token());
    process.spawn_output("relay", async move { Ok(relay.run(outputs).await?) });
    process.spawn_input("consumer", async move { Ok(listening.run(inputs).await?) });
    Ok(())
}
