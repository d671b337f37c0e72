use std::sync::Arc;

use messaging::ledger::StoreError;
use postgres::{Postgres, Tx, store_error};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::service::{Entry, Store};
use crate::postgres::{PostgresDatabase, get, postgres};

const TABLES: &str = "
    CREATE TABLE journal (key uuid, number bigint, id uuid NOT NULL, PRIMARY KEY (key, number));
    CREATE TABLE claims (name text PRIMARY KEY);
    CREATE TABLE notes (
        place bigint GENERATED ALWAYS AS IDENTITY, key uuid NOT NULL, number bigint NOT NULL, id uuid NOT NULL);";

/// The suite's service on Postgres.
#[derive(Clone)]
pub struct OnPostgres {
    database: Arc<PostgresDatabase>,
}

impl Store for OnPostgres {
    type Ledger = Postgres;

    async fn fresh() -> Self {
        let tables = Migration::new(
            20_260_101_000_001,
            "conformance".into(),
            MigrationType::Simple,
            TABLES.into(),
            false,
        );
        let migrations = Migrator {
            migrations: vec![tables].into(),
            ..Migrator::DEFAULT
        };
        Self {
            database: Arc::new(postgres(&migrations).await),
        }
    }

    fn ledger(&self) -> Postgres {
        self.database.inside()
    }

    async fn version(&self, tx: &mut Tx, key: Uuid) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT coalesce(max(number), 0) FROM journal WHERE key = $1")
            .bind(key)
            .fetch_one(&mut **tx)
            .await
            .map_err(store_error)
    }

    async fn journal(&self, tx: &mut Tx, entry: Entry) -> Result<(), StoreError> {
        insert(tx, "INSERT INTO journal (key, number, id) VALUES ($1, $2, $3)", entry).await
    }

    async fn claim(&self, tx: &mut Tx, name: &str) -> Result<(), StoreError> {
        let insert = sqlx::query("INSERT INTO claims VALUES ($1)").bind(name);
        insert.execute(&mut **tx).await.map_err(store_error)?;
        Ok(())
    }

    async fn is_claimed(&self, tx: &mut Tx, name: &str) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM claims WHERE name = $1)")
            .bind(name)
            .fetch_one(&mut **tx)
            .await
            .map_err(store_error)
    }

    async fn record_effect(&self, tx: &mut Tx, entry: Entry) -> Result<(), StoreError> {
        insert(tx, "INSERT INTO notes (key, number, id) VALUES ($1, $2, $3)", entry).await
    }

    async fn journaled(&self) -> Vec<Entry> {
        self.entries("SELECT key, number, id FROM journal ORDER BY key, number")
            .await
    }

    async fn effects(&self) -> Vec<Entry> {
        self.entries("SELECT key, number, id FROM notes ORDER BY place").await
    }
}

impl OnPostgres {
    async fn entries(&self, query: &str) -> Vec<Entry> {
        let rows = sqlx::query(query).fetch_all(self.database.pool()).await;
        let entry = |row: &PgRow| Entry {
            key: get(row, "key"),
            number: get(row, "number"),
            id: get(row, "id"),
        };
        rows.expect("the suite's tables can be read")
            .iter()
            .map(entry)
            .collect()
    }
}

async fn insert(tx: &mut Tx, statement: &str, entry: Entry) -> Result<(), StoreError> {
    sqlx::query(statement)
        .bind(entry.key)
        .bind(entry.number)
        .bind(entry.id)
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(())
}
