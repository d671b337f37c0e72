//! The gateway from its settings to its running tasks: what a process does, and what a test may do several times.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use anyhow::Context;
use chassis::Process;
use chassis::serve::{Limits, serve};
use messaging::{Connected, Identity, Metrics};
use postgres::Postgres;
use sqlx::migrate::Migrator;
use tokio::net::TcpListener;

use crate::api;
use crate::app::App;
use crate::bootstrap::first_admin;
use crate::client;
use crate::config::Config;

/// The gateway's own migrations; the ledger's come from `postgres`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Brings the database up to date.
pub async fn migrate(config: Config) -> anyhow::Result<()> {
    let ledger = Postgres::connect(config.database.as_str(), 1).await?;
    ledger.migrate(&MIGRATIONS).await?;
    Ok(())
}

/// Starts everything, and answers the address of the public API.
pub async fn start(config: Config, process: &Process) -> anyhow::Result<SocketAddr> {
    let ledger = Postgres::connect(config.database.as_str(), config.connections)
        .await
        .context("can't reach the database")?;
    ledger.check_migrations(&MIGRATIONS).await?;
    ledger.register_metrics(process.metrics())?;

    let identity = Identity {
        service: process.name(),
        instance: process.instance(),
        version: process.version(),
    };
    let metrics = Metrics::register(process.metrics())?;
    let connected = Connected::connect(
        identity,
        config.kafka.clone(),
        config.registry.as_str(),
        ledger.clone(),
        metrics,
    )
    .await
    .context("the schemas are not known")?;
    let publisher = connected.publisher().clone();

    let (app, tasks) = App::new(&config, ledger.clone(), publisher.clone(), process.inputs_token()).await?;
    let parts = connected
        .listen(app.subscriptions(), process.health())
        .await
        .context("can't listen")?;
    let (relay, listening) = parts.relay();
    if let Some(admin) = &config.bootstrap_admin {
        first_admin(admin, &ledger, &publisher, app.hasher())
            .await
            .context("the first admin can't be made")?;
    }
    let router = api::router(app, process.metrics())?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("can't listen on {}, LISTEN", config.listen))?;
    let address = listener.local_addr()?;

    // Inputs end first. What they have begun still needs the operations to be written and the relay to publish them.
    let inputs = process.inputs_token();
    process.spawn_input("api", {
        let connections = config.http.connections.get();
        let per_address = config.http.connections_per_address;
        let limits = Limits {
            connections,
            connections_per_address: per_address.map_or(connections.div_ceil(2), NonZeroUsize::get),
            // A response that is not read must not make the drain fail.
            drain: Limits::default().drain.min(process.inputs_grace() / 2),
            ..Limits::default()
        };
        let trusted = config.http.trusted_proxies;
        let counted = move |peer| client::of_connection(peer, &trusted);
        let stop = inputs.clone().cancelled_owned();
        async move {
            serve(listener, router, limits, counted, stop).await;
            Ok(())
        }
    });
    process.spawn_input("consumer", async move { Ok(listening.run(inputs).await?) });
    let outputs = process.outputs_token();
    process.spawn_output("operations", {
        let stop = outputs.clone();
        async move {
            tasks.run(stop).await;
            Ok(())
        }
    });
    process.spawn_output("relay", async move { Ok(relay.run(outputs).await?) });
    tracing::info!(%address, "the API is served on {address}");
    Ok(address)
}
