//! The deletion of old rows.

use std::time::Duration;

use gateway::store::operations::{Kind, Success};
use gateway::{CleanUp, MIGRATIONS};
use testing::{PostgresDatabase, eventually};
use tokio_util::sync::CancellationToken;

use crate::app::Gateway;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Several times as many as one statement deletes.
const OLD: i64 = 2_500;
const LATER: Duration = Duration::from_secs(60);
/// Maximum number of rows of one statement.
const LIMIT: i64 = 1_000;

/// Each table that is cleaned up, with the condition for its old rows, in the order of [`fill`].
const OLD_ROWS: [(&str, &str); 6] = [
    ("operations", "created_at < now() - interval '30 days'"),
    (
        "operations",
        "kind = 'where-is' AND created_at < now() - interval '1 hour'",
    ),
    (
        "operations",
        "idempotency_key IS NOT NULL AND created_at < now() - interval '1 day'",
    ),
    ("credentials", "NOT active AND created_at < now() - interval '30 days'"),
    ("session_families", "created_at < now() - interval '40 days'"),
    ("link_nonces", "expires_at < now()"),
];

/// Writes old rows of all kinds, young ones beside them, and a record of the rows of each statement.
async fn fill(database: &PostgresDatabase) {
    let statement = format!(
        "INSERT INTO operations (id, kind, resource_id, state, created_at)
         SELECT gen_random_uuid(), 'create-event', gen_random_uuid(), 'accepted', now() - age
         FROM generate_series(1, {OLD}), (VALUES (interval '31 days'), (interval '29 days')) AS ages (age);
         INSERT INTO operations (id, kind, resource_id, state, created_at)
         SELECT gen_random_uuid(), 'where-is', gen_random_uuid(), 'accepted', now() - age
         FROM generate_series(1, {OLD}), (VALUES (interval '2 hours'), (interval '30 minutes')) AS ages (age);
         INSERT INTO operations (id, kind, resource_id, state, scope, idempotency_key, fingerprint, created_at)
         SELECT gen_random_uuid(), 'create-event', gen_random_uuid(), 'accepted', age::text, n, ''::bytea, now() - age
         FROM generate_series(1, {OLD}) AS n, (VALUES (interval '25 hours'), (interval '23 hours')) AS ages (age);
         INSERT INTO credentials (user_id, password_hash, operation_id, created_at)
         SELECT gen_random_uuid(), '', gen_random_uuid(), now() - age
         FROM generate_series(1, {OLD}), (VALUES (interval '31 days'), (interval '29 days')) AS ages (age);
         INSERT INTO session_families (id, user_id, created_at)
         SELECT gen_random_uuid(), gen_random_uuid(), now() - age
         FROM generate_series(1, {OLD}), (VALUES (interval '41 days'), (interval '39 days')) AS ages (age);
         INSERT INTO refresh_tokens (hash, family_id, expires_at)
         SELECT uuid_send(gen_random_uuid()), id, created_at + interval '40 days' + spare
         FROM session_families, (VALUES (interval '0'), (interval '1 hour')) AS tokens (spare);
         INSERT INTO link_nonces (nonce, user_id, purpose, expires_at)
         SELECT gen_random_uuid(), gen_random_uuid(), 'verify-email', now() + age
         FROM generate_series(1, {OLD}), (VALUES (interval '-1 hour'), (interval '1 hour')) AS ages (age);
         CREATE TABLE statements (rows bigint NOT NULL);
         CREATE FUNCTION record_rows() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO statements SELECT count(*) FROM old; RETURN NULL; END $$;"
    );
    sqlx::raw_sql(&statement)
        .execute(database.pool())
        .await
        .expect("the rows are valid");
    for table in ["operations", "credentials", "refresh_tokens", "link_nonces"] {
        let trigger = format!(
            "CREATE TRIGGER rows AFTER DELETE ON {table} REFERENCING OLD TABLE AS old
             FOR EACH STATEMENT EXECUTE FUNCTION record_rows();
             CREATE TRIGGER updated AFTER UPDATE ON {table} REFERENCING OLD TABLE AS old
             FOR EACH STATEMENT EXECUTE FUNCTION record_rows();"
        );
        sqlx::raw_sql(&trigger)
            .execute(database.pool())
            .await
            .expect("the trigger is valid");
    }
}

async fn count(database: &PostgresDatabase, query: &str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(database.pool())
        .await
        .expect("a number")
}

/// Waits until these tables have no old rows.
async fn are_clean(database: &PostgresDatabase, tables: impl IntoIterator<Item = (&str, &str)>) {
    for (table, condition) in tables {
        let query = format!("SELECT count(*) FROM {table} WHERE {condition}");
        eventually(&format!("the old rows of {table} are deleted"), LATER, || async {
            (count(database, &query).await == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn many_old_rows_are_deleted_by_small_statements() {
    let database = testing::postgres(&MIGRATIONS).await;
    fill(&database).await;
    // Two processes clean up at the same time.
    let _gateways = (
        Gateway::start(&database, &[]).await,
        Gateway::start(&database, &[]).await,
    );
    are_clean(&database, OLD_ROWS).await;
    for (query, rows) in [
        ("SELECT count(*) FROM operations WHERE kind = 'where-is'", OLD),
        ("SELECT count(*) FROM operations WHERE kind <> 'where-is'", 3 * OLD),
        ("SELECT count(*) FROM operations WHERE idempotency_key IS NOT NULL", OLD),
        ("SELECT count(*) FROM credentials", OLD),
        ("SELECT count(*) FROM session_families", OLD),
        ("SELECT count(*) FROM refresh_tokens", 2 * OLD),
        ("SELECT count(*) FROM link_nonces", OLD),
    ] {
        assert_eq!(count(&database, query).await, rows, "{query}");
    }
    assert_eq!(count(&database, "SELECT max(rows) FROM statements").await, LIMIT);
}

#[tokio::test]
async fn a_clean_up_that_fails_or_waits_does_not_stop_the_others() {
    let database = testing::postgres(&MIGRATIONS).await;
    fill(&database).await;
    let [.., (tokens, _), (links, _)] = OLD_ROWS;
    assert_eq!((tokens, links), ("session_families", "link_nonces"));
    sqlx::raw_sql("ALTER TABLE link_nonces RENAME TO lost")
        .execute(database.pool())
        .await
        .expect("the table exists");
    let mut transaction = database.pool().begin().await.expect("the server is up");
    sqlx::raw_sql("LOCK TABLE session_families")
        .execute(&mut *transaction)
        .await
        .expect("no one holds a lock");

    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    let retention = gateway::config::Retention {
        idempotency_keys: DAY,
        operations: 30 * DAY,
    };
    tokio::spawn(CleanUp::new(database.pool().clone(), retention).run(stop));
    are_clean(&database, OLD_ROWS.into_iter().take(4)).await;
    transaction.rollback().await.expect("the server is up");
    are_clean(&database, OLD_ROWS.into_iter().skip(4).take(1)).await;
    drop(guard);
}

#[tokio::test]
async fn the_index_of_old_queries_contains_every_kind_of_query() {
    let database = testing::postgres(&MIGRATIONS).await;
    let index: String =
        sqlx::query_scalar("SELECT indexdef FROM pg_indexes WHERE indexname = 'operations_queries_by_age'")
            .fetch_one(database.pool())
            .await
            .expect("the index exists");
    let queries = Kind::ALL
        .into_iter()
        .filter(|kind| matches!(kind.success(), Success::QueryResult));
    for query in queries {
        assert!(index.contains(&format!("'{}'", query.as_str())), "{index}");
    }
}
