//! An unresponsive server: no call waits for it forever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use messaging::ledger::{Outbox as _, StoreErrorKind, Transactions as _};
use postgres::Postgres;
use sqlx::ConnectOptions as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to the server. When it is frozen, open connections transfer nothing and stay open, while new
/// connections work.
struct Proxy {
    address: SocketAddr,
    freeze: Arc<watch::Sender<()>>,
}

impl Proxy {
    async fn start(server: (String, u16)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the listener is bound");
        let freeze = Arc::new(watch::Sender::new(()));
        let frozen = Arc::clone(&freeze);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut upstream = TcpStream::connect(&server).await.expect("Postgres is reachable");
                let mut frozen = frozen.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut upstream) => return,
                        _ = frozen.changed() => {}
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { address, freeze }
    }

    fn freeze(&self) {
        self.freeze.send_replace(());
    }
}

/// Returns a database, a proxy in front of its server, and a ledger that connects through the proxy.
async fn behind_a_proxy(connections: u32) -> (testing::PostgresDatabase, Proxy, Postgres) {
    let database = testing::postgres(&Migrator::DEFAULT).await;
    let options: PgConnectOptions = database.url().parse().expect("a Postgres URL");
    let proxy = Proxy::start((options.get_host().to_owned(), options.get_port())).await;
    let options = options.host("127.0.0.1").port(proxy.address.port());
    let ledger = Postgres::connect(options.to_url_lossy().as_str(), connections).await;
    (database, proxy, ledger.expect("Postgres is reachable"))
}

/// Advances the clock by `time` immediately.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::sleep(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_unresponsive_connection_frees_its_slot_in_the_pool() {
    let (_database, proxy, ledger) = behind_a_proxy(1).await;
    let tx = ledger.begin().await.expect("a transaction begins");
    proxy.freeze();
    drop(tx);
    pass(Duration::from_secs(6)).await;
    ledger.ping().await.expect("a new connection replaces it");
}

#[tokio::test]
async fn a_call_times_out_when_the_server_is_unresponsive() {
    let (_database, proxy, ledger) = behind_a_proxy(1).await;
    proxy.freeze();
    let call = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.outbox_gauge().await }
    });
    tokio::task::yield_now().await;
    pass(Duration::from_secs(31)).await;
    let error = call.await.expect("no panic").expect_err("the server is unresponsive");
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    pass(Duration::from_secs(6)).await;
    ledger.ping().await.expect("a new connection replaces it");
}

#[tokio::test]
async fn the_server_enforces_time_limits() {
    let (_database, _proxy, ledger) = behind_a_proxy(1).await;
    let settings: Vec<String> = sqlx::query_scalar(
        "SELECT name || '=' || setting FROM pg_settings WHERE name IN
             ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'tcp_keepalives_idle',
              'tcp_keepalives_interval', 'tcp_keepalives_count', 'tcp_user_timeout') ORDER BY name",
    )
    .fetch_all(ledger.pool())
    .await
    .expect("the settings can be read");
    let expected = [
        "idle_in_transaction_session_timeout=900000",
        "lock_timeout=10000",
        "statement_timeout=20000",
        "tcp_keepalives_count=3",
        "tcp_keepalives_idle=10",
        "tcp_keepalives_interval=5",
        "tcp_user_timeout=15000",
    ];
    assert_eq!(settings, expected);
}
