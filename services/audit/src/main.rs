use std::process::ExitCode;

use audit::config::Config;
use audit::{metrics, store, subscriptions};
use chassis::Process;
use messaging::{Connected, Identity, Metrics};
use mongo::Mongo;

fn main() -> ExitCode {
    chassis::main("audit", env!("CARGO_PKG_VERSION"), Config::from_settings, migrate, run)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    let mongo = Mongo::connect(config.database.as_str()).await?;
    store::prepare(&mongo).await?;
    Ok(())
}

async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let mongo = Mongo::connect(config.database.as_str()).await?;
    store::check(&mongo).await?;

    let identity = Identity {
        service: process.name(),
        instance: process.instance(),
        version: process.version(),
    };
    let messaging = Metrics::register(process.metrics())?;
    let findings = metrics::Metrics::register(process.metrics())?;
    let connected = Connected::connect(identity, config.kafka, config.registry.as_str(), mongo, messaging).await?;
    let (relay, listening) = connected
        .listen(subscriptions(&findings), process.health())
        .await?
        .relay();

    // The relay drains last: what the consumer committed is still published.
    let (inputs, outputs) = (process.inputs_token(), process.outputs_token());
    process.spawn_output("relay", async move { Ok(relay.run(outputs).await?) });
    process.spawn_input("consumer", async move { Ok(listening.run(inputs).await?) });
    Ok(())
}
