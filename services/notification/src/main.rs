use std::process::ExitCode;

use chassis::Process;
use contracts::links::LinkKey;
use messaging::{Connected, Identity, Metrics};
use mongo::Mongo;
use notification::config::Config;
use notification::letter::Letters;
use notification::mailer::{Mailer, Working};
use notification::server::Smtp;
use notification::{Lanes, metrics, store, subscriptions};

fn main() -> ExitCode {
    chassis::main(
        "notification",
        env!("CARGO_PKG_VERSION"),
        Config::from_settings,
        migrate,
        run,
    )
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    let mongo = Mongo::connect(config.database.as_str()).await?;
    store::prepare(&mongo).await?;
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
    let metrics = Metrics::register(process.metrics())?;
    let connected =
        Connected::connect(identity, config.kafka, config.registry.as_str(), mongo.clone(), metrics).await?;

    let lanes = Lanes::default();
    let working = Working {
        senders: usize::try_from(config.senders.get())?,
        ..Working::default()
    };
    let mailer = Mailer::new(
        mongo,
        connected.publisher().clone(),
        Letters::new(config.public_url.as_str(), LinkKey::new(config.link_key.expose())),
        // Both lanes send at once.
        Smtp::new(
            config.smtp.as_str(),
            config.mail_from,
            config.senders.get().saturating_mul(2),
        )?,
        lanes.clone(),
        metrics::Metrics::register(process.metrics())?,
        working,
    );
    let (relay, listening) = connected.listen(subscriptions(&lanes), process.health()).await?.relay();

    // The relay drains last: what the consumer and the mailer committed is still published.
    let (consumer, mails, outputs) = (process.inputs_token(), process.inputs_token(), process.outputs_token());
    process.spawn_output("relay", async move { Ok(relay.run(outputs).await?) });
    process.spawn_input("consumer", async move { Ok(listening.run(consumer).await?) });
    process.spawn_input("mailer", async move {
        mailer.run(mails).await;
        Ok(())
    });
    Ok(())
}
