use std::process::ExitCode;

use audit::config::Config;
use audit::{Certifier, Notary, Signer, grow_trees, metrics, store, subscriptions};
use chassis::Process;
use messaging::{Connected, Identity, Metrics};
use mongo::Mongo;

fn main() -> ExitCode {
    chassis::main("audit", env!("CARGO_PKG_VERSION"), Config::from_settings, migrate, run)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    let mongo = Mongo::connect(config.database.as_str()).await?;
    store::prepare(&mongo).await?;
    grow_trees(&mongo).await?;
    Ok(())
}

async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let mongo = Mongo::connect(config.database.as_str()).await?;
    store::check(&mongo).await?;
    mongo.register_metrics(process.metrics())?;

    let identity = Identity {
        service: process.name(),
        instance: process.instance(),
        version: process.version(),
    };
    let signer = Signer::load(config.signing_key.as_ref(), &mongo).await?;
    let messaging = Metrics::register(process.metrics())?;
    let findings = metrics::Metrics::register(process.metrics())?;
    let connected = Connected::connect(
        identity,
        config.kafka,
        config.registry.as_str(),
        mongo.clone(),
        messaging,
    )
    .await?;
    let publisher = connected.publisher().clone();
    let notary = Notary {
        ledger: mongo.clone(),
        publisher: publisher.clone(),
        signer,
        every: config.checkpoint_every,
    };
    let certifier = Certifier {
        ledger: mongo,
        publisher,
    };
    let (relay, listening) = connected
        .listen(subscriptions(&findings), process.health())
        .await?
        .relay();

    let (signing, certifying) = (process.inputs_token(), process.inputs_token());
    process.spawn_input("notary", async move {
        notary.run(signing).await;
        Ok(())
    });
    process.spawn_input("certifier", async move {
        certifier.run(certifying).await;
        Ok(())
    });

    // The relay drains last: what the consumer committed is still published.
    let (inputs, outputs) = (process.inputs_token(), process.outputs_token());
    process.spawn_output("relay", async move { Ok(relay.run(outputs).await?) });
    process.spawn_input("consumer", async move { Ok(listening.run(inputs).await?) });
    Ok(())
}
