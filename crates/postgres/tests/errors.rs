//! The classification of the errors of a real server.

use messaging::ledger::{StoreErrorKind, Transactions as _};
use postgres::{Postgres, store_error};
use sqlx::Executor as _;
use sqlx::migrate::Migrator;
use testing::PostgresDatabase;

use StoreErrorKind::{Broken, Conflict, Unavailable, Unexpected};

async fn database() -> (PostgresDatabase, Postgres) {
    let database = testing::postgres(&Migrator::DEFAULT).await;
    let ledger = Postgres::connect(&database.url(), 1).await.expect("a connection");
    (database, ledger)
}

/// Returns the kind of an error with this SQLSTATE.
async fn kind_of_state(ledger: &Postgres, state: &str) -> StoreErrorKind {
    let raise = format!("DO $$ BEGIN RAISE EXCEPTION 'raised by a test' USING ERRCODE = '{state}'; END $$");
    kind_of(ledger, &raise).await
}

async fn kind_of(ledger: &Postgres, statement: &str) -> StoreErrorKind {
    let error = ledger.pool().execute(statement).await;
    store_error(error.expect_err("the statement fails")).kind
}

#[tokio::test]
async fn each_class_of_errors_is_classified() {
    let (_database, ledger) = database().await;
    // One code of every class of PostgreSQL's appendix A that reports an error, and each code that differs from its class.
    let table = [
        ("03000", Unexpected),  // SQL statement not yet complete
        ("08006", Unavailable), // connection failure
        ("09000", Unexpected),  // triggered action exception
        ("0A000", Unexpected),  // feature not supported
        ("0B000", Unexpected),  // invalid transaction initiation
        ("0F000", Unexpected),  // locator exception
        ("0L000", Unexpected),  // invalid grantor
        ("0P000", Unexpected),  // invalid role specification
        ("20000", Unexpected),  // case not found
        ("21000", Unexpected),  // cardinality violation
        ("22000", Broken),      // data exception
        ("22001", Broken),      // string data right truncation
        ("22003", Broken),      // numeric value out of range
        ("22021", Broken),      // character not in repertoire
        ("22P05", Broken),      // untranslatable character
        ("23000", Unexpected),  // integrity constraint violation
        ("23001", Unexpected),  // restrict violation
        ("23502", Broken),      // not null violation
        ("23503", Unexpected),  // foreign key violation
        ("23505", Conflict),    // unique violation
        ("23514", Broken),      // check violation
        ("23P01", Conflict),    // exclusion violation
        ("24000", Unexpected),  // invalid cursor state
        ("25000", Unexpected),  // invalid transaction state
        ("25006", Unavailable), // read only SQL transaction
        ("25P02", Unexpected),  // in failed SQL transaction
        ("25P03", Unavailable), // idle in transaction session timeout
        ("26000", Unexpected),  // invalid SQL statement name
        ("28000", Unexpected),  // invalid authorization specification
        ("2B000", Unexpected),  // dependent privilege descriptors still exist
        ("2D000", Unexpected),  // invalid transaction termination
        ("2F000", Unexpected),  // SQL routine exception
        ("34000", Unexpected),  // invalid cursor name
        ("38000", Unexpected),  // external routine exception
        ("39000", Unexpected),  // external routine invocation exception
        ("3B000", Unexpected),  // savepoint exception
        ("3D000", Unexpected),  // invalid catalog name
        ("3F000", Unexpected),  // invalid schema name
        ("40001", Conflict),    // serialization failure
        ("40003", Unavailable), // statement completion unknown
        ("40P01", Conflict),    // deadlock detected
        ("42501", Unexpected),  // insufficient privilege
        ("42703", Unexpected),  // undefined column
        ("42804", Unexpected),  // datatype mismatch
        ("42P01", Unexpected),  // undefined table
        ("44000", Unexpected),  // with check option violation
        ("53100", Unavailable), // disk full
        ("54000", Unexpected),  // program limit exceeded: also raised when no transaction ids are left
        ("54001", Unexpected),  // statement too complex
        ("55000", Unexpected),  // object not in prerequisite state
        ("55P03", Unavailable), // lock not available
        ("57014", Unavailable), // query canceled
        ("58030", Unavailable), // I/O error
        ("72000", Unexpected),  // snapshot too old
        ("F0000", Unexpected),  // configuration file error
        ("HV000", Unexpected),  // foreign data wrapper error
        ("P0001", Unexpected),  // raise exception
        ("XX000", Unexpected),  // internal error
        ("ZZ999", Unexpected),  // a code of a later version
    ];
    for (state, expected) in table {
        assert_eq!(kind_of_state(&ledger, state).await, expected, "{state}");
    }
}

#[tokio::test]
async fn data_that_a_table_rejects_is_broken() {
    let (_database, ledger) = database().await;
    let table = "CREATE TABLE rejected (a text NOT NULL, b integer CHECK (b > 0)); CREATE INDEX ON rejected (a)";
    ledger.pool().execute(table).await.expect("a table can be created");
    // Random hexadecimal digits, because an index stores a value in compressed form.
    let long = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 2000) AS n)";
    for statement in [
        "INSERT INTO rejected VALUES (NULL, 1)",
        "INSERT INTO rejected VALUES ('a', 0)",
        "INSERT INTO rejected VALUES ('a', 9223372036854775807)",
        &format!("INSERT INTO rejected VALUES ({long}, 1)"),
        &format!("INSERT INTO rejected VALUES (left({long}, 8000), 1)"),
    ] {
        let kind = kind_of(&ledger, statement).await;
        assert_eq!(kind, Broken, "{statement}");
    }
    let nul = sqlx::query("INSERT INTO rejected VALUES ($1, 1)").bind("a\0b");
    let rejected = nul
        .execute(ledger.pool())
        .await
        .expect_err("a string cannot contain NUL");
    assert_eq!(store_error(rejected).kind, Broken);
}

#[test]
fn errors_of_the_driver_are_classified() {
    let source = || "raised by a test".into();
    let table = [
        (sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()), Unavailable),
        (sqlx::Error::Tls(source()), Unavailable),
        (sqlx::Error::Protocol(String::new()), Unavailable),
        (sqlx::Error::PoolTimedOut, Unavailable),
        (sqlx::Error::PoolClosed, Unavailable),
        (sqlx::Error::WorkerCrashed, Unavailable),
        // A parameter that cannot be represented in Postgres's format.
        (sqlx::Error::Encode(source()), Broken),
        (sqlx::Error::Configuration(source()), Unexpected),
        (sqlx::Error::Decode(source()), Unexpected),
        (sqlx::Error::RowNotFound, Unexpected),
        (sqlx::Error::ColumnNotFound(String::new()), Unexpected),
        (sqlx::Error::ColumnIndexOutOfBounds { index: 1, len: 1 }, Unexpected),
        (
            sqlx::Error::TypeNotFound {
                type_name: String::new(),
            },
            Unexpected,
        ),
        (
            sqlx::Error::ColumnDecode {
                index: String::new(),
                source: source(),
            },
            Unexpected,
        ),
        (sqlx::Error::BeginFailed, Unexpected),
    ];
    for (error, expected) in table {
        let error = store_error(error);
        assert_eq!(error.kind, expected, "{:?}", error.source);
    }
}

#[tokio::test]
async fn an_unexpected_row_is_not_caused_by_the_data() {
    let (_database, ledger) = database().await;
    let errors = [
        sqlx::query_scalar::<_, i32>("SELECT 'a text'")
            .fetch_one(ledger.pool())
            .await,
        sqlx::query_scalar::<_, i32>("SELECT NULL::integer")
            .fetch_one(ledger.pool())
            .await,
        sqlx::query_scalar::<_, i32>("SELECT 1 WHERE false")
            .fetch_one(ledger.pool())
            .await,
    ];
    for error in errors {
        assert_eq!(
            store_error(error.expect_err("the column is not a number")).kind,
            Unexpected
        );
    }
    let row = sqlx::query("SELECT 1 AS one")
        .fetch_one(ledger.pool())
        .await
        .expect("a row");
    let missing = sqlx::Row::try_get::<i32, _>(&row, "two").expect_err("the column does not exist");
    assert_eq!(store_error(missing).kind, Unexpected);
}

#[tokio::test]
async fn statements_are_prepared_again_after_a_change_of_their_table() {
    let (database, ledger) = database().await;
    let read = || async {
        sqlx::query("SELECT a FROM changed")
            .fetch_all(ledger.pool())
            .await
            .map_err(store_error)
    };
    database
        .pool()
        .execute("CREATE TABLE changed (a integer)")
        .await
        .expect("a table can be created");
    for kind in ["bigint", "text"] {
        read().await.expect("the table can be read");
        let change = format!("ALTER TABLE changed ALTER COLUMN a TYPE {kind}");
        database
            .pool()
            .execute(change.as_str())
            .await
            .expect("the table can be changed");
        assert_eq!(
            read().await.expect_err("the statement is out of date").kind,
            Unexpected,
            "{kind}"
        );
        read().await.expect("another connection replaces it");
    }
    ledger.ping().await.expect("the server responds");
}
