//! The collections and indexes of a service's own data.

use messaging::ledger::StoreError;
use mongodb::IndexModel;
use mongodb::bson::Document;
use mongodb::options::IndexOptions;

use crate::{Mongo, store_error};

/// The collections of one service, each with its indexes.
#[derive(Debug)]
pub struct Schema {
    /// Name of the service's binary, which error messages refer to.
    pub service: &'static str,
    pub collections: Vec<(&'static str, Vec<IndexModel>)>,
}

/// The reason why a database cannot be used by this version of a service.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error(transparent)]
    Unreachable(StoreError),
    #[error("the collections of the database cannot be listed")]
    Store(#[from] StoreError),
    #[error("the database lacks the collections {}: run `{service} migrate` first", .missing.join(", "))]
    NotMigrated {
        service: &'static str,
        missing: Vec<&'static str>,
    },
    #[error("the metrics of the database cannot be registered")]
    Metrics(#[source] prometheus::Error),
}

impl Schema {
    /// Opens the prepared database of a process, and registers the number of connections as a metric.
    ///
    /// # Errors
    /// Returns an error if the database is unreachable, if a collection is missing, or if `metrics` already has this metric.
    pub async fn open(self, url: &str, metrics: &prometheus::Registry) -> Result<Mongo, SchemaError> {
        let mongo = Mongo::connect(url).await.map_err(SchemaError::Unreachable)?;
        self.check(&mongo).await?;
        mongo.register_metrics(metrics).map_err(SchemaError::Metrics)?;
        Ok(mongo)
    }

    /// Creates all missing collections and indexes, including those of the bookkeeping. May be repeated.
    pub async fn prepare(self, mongo: &Mongo) -> Result<(), StoreError> {
        mongo.prepare().await?;
        for (name, indexes) in self.collections {
            mongo.prepare_collection(name, indexes).await?;
        }
        Ok(())
    }

    /// Checks that [`prepare`](Self::prepare) was run by this version.
    ///
    /// # Errors
    /// Returns [`SchemaError::NotMigrated`] if a collection is missing, and [`SchemaError::Store`] if the database is
    /// unreachable.
    pub async fn check(self, mongo: &Mongo) -> Result<(), SchemaError> {
        let existing = mongo.database().list_collection_names().await.map_err(store_error)?;
        let names = self.collections.into_iter().map(|(name, _)| name);
        let missing: Vec<_> = names
            .filter(|name| !existing.iter().any(|existing| existing == name))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(SchemaError::NotMigrated {
            service: self.service,
            missing,
        })
    }
}

/// Returns an index over these fields, in order, that contains only the documents that match `filter`.
pub fn partial_index(keys: Document, filter: Document) -> IndexModel {
    let options = IndexOptions::builder().partial_filter_expression(filter).build();
    IndexModel::builder().keys(keys).options(options).build()
}
