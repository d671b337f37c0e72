//! Searches every table and collection of the services' stores for a string, as text and as bytes.

use anyhow::Result;
use futures::TryStreamExt;
use mongodb::bson::RawDocumentBuf;
use sqlx::{PgPool, Row};

use crate::system::{SERVICES, System};

/// Returns the tables and collections that contain one of these strings, as `service.table`, ignoring case.
pub async fn stores(system: &System, texts: &[&str]) -> Result<Vec<String>> {
    let mut locations = Vec::new();
    for service in SERVICES {
        let url = system.database(service);
        let found = if url.starts_with("mongodb") {
            collections(url, texts).await?
        } else {
            tables(url, texts).await?
        };
        locations.extend(found.into_iter().map(|name| format!("{service}.{name}")));
    }
    Ok(locations)
}

/// Returns `true` if `bytes` contain one of the strings, ignoring case.
pub fn holds(bytes: &[u8], texts: &[&str]) -> bool {
    texts.iter().any(|text| {
        bytes
            .windows(text.len())
            .any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
    })
}

async fn tables(url: &str, texts: &[&str]) -> Result<Vec<String>> {
    let pool = PgPool::connect(url).await?;
    let names = sqlx::query(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')",
    )
    .fetch_all(&pool)
    .await?;
    // The text form of a row shows bytes in hexadecimal.
    let patterns: Vec<String> = texts
        .iter()
        .flat_map(|text| [(*text).to_owned(), hex(text)])
        .map(|text| format!("%{}%", text.replace('_', "\\_")))
        .collect();
    let mut found = Vec::new();
    for name in names {
        let name: String = name.try_get(0)?;
        let query = format!("SELECT EXISTS (SELECT FROM {name} t WHERE t::text ILIKE ANY($1))");
        let holds: bool = sqlx::query_scalar(&query).bind(&patterns).fetch_one(&pool).await?;
        if holds {
            found.push(name.trim_start_matches("public.").to_owned());
        }
    }
    pool.close().await;
    Ok(found)
}

async fn collections(url: &str, texts: &[&str]) -> Result<Vec<String>> {
    let client = mongodb::Client::with_uri_str(url).await?;
    let database = client.default_database().expect("the service's URL names a database");
    let mut found = Vec::new();
    for name in database.list_collection_names().await? {
        let documents = database
            .collection::<RawDocumentBuf>(&name)
            .find(Default::default())
            .await?;
        let documents: Vec<RawDocumentBuf> = documents.try_collect().await?;
        if documents.iter().any(|document| holds(document.as_bytes(), texts)) {
            found.push(name);
        }
    }
    Ok(found)
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
