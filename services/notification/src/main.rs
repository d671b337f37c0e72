use std::process::ExitCode;

use chassis::Process;
use contracts::links::LinkKey;
use messaging::Messaging;
use mongo::Mongo;
use notification::config::Config;
use notification::mailer::{Mailer, MailerSettings};
use notification::server::Smtp;
use notification::templates::Templates;
use notification::{Cleaner, MailQueues, metrics, store, subscriptions};

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
    store::schema().prepare(&mongo).await?;
    Ok(())
}

async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let mongo = store::schema()
        .open(config.database.as_str(), process.metrics())
        .await?;
    let messaging = Messaging::connect(&process, config.messaging, mongo.clone()).await?;
    let mail_queues = MailQueues::default();
    let settings = MailerSettings {
        senders: usize::try_from(config.senders.get())?,
        ..MailerSettings::default()
    };
    let cleaner = Cleaner {
        mongo: mongo.clone(),
        retention: config.mail_retention,
    };
    let mailer = Mailer::new(
        mongo,
        messaging.publisher().clone(),
        Templates::new(config.public_url.as_str(), LinkKey::new(config.link_key.expose())),
        // Both mail queues send at the same time.
        Smtp::new(
            config.smtp.as_str(),
            config.mail_from,
            config.senders.get().saturating_mul(2),
        )?,
        mail_queues.clone(),
        metrics::Metrics::register(process.metrics())?,
        settings,
    );

    messaging.spawn(&process, subscriptions(&mail_queues)).await?;
    let (stop_mailer, stop_cleaner) = (process.inputs_token(), process.inputs_token());
    process.spawn_input("mailer", async move {
        mailer.run(stop_mailer).await;
        Ok(())
    });
    process.spawn_input("cleaner", async move {
        cleaner.run(stop_cleaner).await;
        Ok(())
    });
    Ok(())
}
