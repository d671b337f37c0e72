//! T4, the baseline: one transaction per message, as pgbench runs it: BEGIN, two INSERTs, COMMIT, with 32 clients.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// Description of the baseline.
pub(crate) const WHAT: &str = "T4, pgbench: BEGIN, 2 INSERTs, COMMIT at 32 clients";

const SCRIPT: &str = "BEGIN;
INSERT INTO naive_domain_events (id, payload) VALUES (gen_random_uuid(), repeat('x', 200));
INSERT INTO naive_outbox (id, payload) VALUES (gen_random_uuid(), repeat('x', 400));
COMMIT;
";

/// Returns the transactions per second on a separate database.
pub(crate) async fn transactions_per_second(database: &str, seconds: u32) -> Result<f64> {
    let pool = sqlx::PgPool::connect(database).await?;
    for statement in [
        "DROP TABLE IF EXISTS naive_domain_events, naive_outbox",
        "CREATE TABLE naive_domain_events (id uuid PRIMARY KEY, payload text NOT NULL)",
        "CREATE TABLE naive_outbox (id uuid PRIMARY KEY, payload text NOT NULL)",
        "CHECKPOINT",
    ] {
        sqlx::query(statement).execute(&pool).await?;
    }
    let script = std::env::temp_dir().join(format!("rollcall-naive-{}.sql", std::process::id()));
    std::fs::write(&script, SCRIPT)?;
    let output = Command::new(pgbench()?)
        .args(["--no-vacuum", "--client=32", "--jobs=2", "--protocol=prepared"])
        .arg(format!("--time={seconds}"))
        .arg("--file")
        .arg(&script)
        .arg(database)
        .output()
        .await
        .context("cannot start pgbench")?;
    std::fs::remove_file(&script)?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "pgbench: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines()
        .find_map(|line| line.strip_prefix("tps = "))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .context("the output of pgbench contains no tps")
}

/// Finds pgbench on the path or in Debian's folder for the server's programs.
fn pgbench() -> Result<PathBuf> {
    let on_path = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| {
            versions
                .flatten()
                .map(|version| version.path().join("bin"))
                .collect::<Vec<_>>()
        })
        .unwrap_or_default();
    on_path
        .into_iter()
        .chain(debian)
        .map(|folder| folder.join("pgbench"))
        .find(|program| program.is_file())
        .context("pgbench is not installed; install the PostgreSQL server")
}
