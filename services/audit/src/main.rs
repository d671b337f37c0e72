use std::process::ExitCode;

use audit::config::Config;
use audit::{Certifier, Notary, Signer, grow_trees, metrics, store, subscriptions};
use chassis::Process;
use messaging::Messaging;
use mongo::Mongo;

fn main() -> ExitCode {
    chassis::main("audit", env!("CARGO_PKG_VERSION"), Config::from_settings, migrate, run)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    let mongo = Mongo::connect(config.database.as_str()).await?;
    store::schema().prepare(&mongo).await?;
    grow_trees(&mongo).await?;
    Ok(())
}

async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let mongo = store::schema()
        .open(config.database.as_str(), process.metrics())
        .await?;
    let signer = Signer::load(config.signing_key.as_ref(), &mongo).await?;
    let findings = metrics::Metrics::register(process.metrics())?;
    let messaging = Messaging::connect(&process, config.messaging, mongo.clone()).await?;
    let notary = Notary {
        ledger: mongo.clone(),
        publisher: messaging.publisher().clone(),
        signer,
        every: config.checkpoint_every,
    };
    let certifier = Certifier {
        ledger: mongo,
        publisher: messaging.publisher().clone(),
    };

    messaging.spawn(&process, subscriptions(&findings)).await?;
    let (stop_notary, stop_certifier) = (process.inputs_token(), process.inputs_token());
    process.spawn_input("notary", async move {
        notary.run(stop_notary).await;
        Ok(())
    });
    process.spawn_input("certifier", async move {
        certifier.run(stop_certifier).await;
        Ok(())
    });
    Ok(())
}
