//! Starts a gateway, from its settings to its running tasks. A test may start several in one process.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use anyhow::Context;
use chassis::Process;
use chassis::serve::{Limits, serve};
use messaging::Messaging;
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

/// Applies all migrations that the database does not have yet.
pub async fn migrate(config: Config) -> anyhow::Result<()> {
    Ok(postgres::migrate(&config.database, &MIGRATIONS).await?)
}

/// Connects, spawns all tasks of the process, and returns the address of the public API.
pub async fn start(config: Config, process: &Process) -> anyhow::Result<SocketAddr> {
    let ledger = Postgres::open(&config.database, &MIGRATIONS, process.metrics()).await?;
    let messaging = Messaging::connect(process, config.messaging.clone(), ledger.clone()).await?;
    let publisher = messaging.publisher().clone();
    let (app, tasks) = App::new(&config, ledger.clone(), publisher.clone(), process.inputs_token()).await?;
    messaging.spawn(process, app.subscriptions()).await?;

    if let Some(admin) = &config.bootstrap_admin {
        first_admin(admin, &ledger, &publisher, app.hasher())
            .await
            .context("the first admin cannot be created")?;
    }
    let router = api::router(app, process.metrics())?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("the public API cannot listen on {} (LISTEN)", config.listen))?;
    let address = listener.local_addr()?;

    // Inputs end first, because what they have begun still needs the tasks that write operations, and the relay.
    process.spawn_input("api", {
        let connections = config.http.connections.get();
        let per_address = config.http.connections_per_address;
        let limits = Limits {
            connections,
            connections_per_address: per_address.map_or(connections.div_ceil(2), NonZeroUsize::get),
            // A client that does not read its response must not make the drain fail.
            drain: Limits::default().drain.min(process.inputs_grace() / 2),
            ..Limits::default()
        };
        let trusted = config.http.trusted_proxies;
        let counted = move |peer| client::of_connection(peer, &trusted);
        let stop = process.inputs_token().cancelled_owned();
        async move {
            serve(listener, router, limits, counted, stop).await;
            Ok(())
        }
    });
    let stop_operations = process.outputs_token();
    process.spawn_output("operations", async move {
        tasks.run(stop_operations).await;
        Ok(())
    });
    tracing::info!(%address, "serving the public API on {address}");
    Ok(address)
}
