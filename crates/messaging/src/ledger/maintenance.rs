use std::future::Future;
use std::time::Duration;

use super::{StoreError, Transactions};

/// The boot check and the periodic clean-up of a store.
pub trait Maintenance: Transactions {
    /// Deletes inbox entries that are older than `inbox_retention`, and leases that expired long ago. On Postgres, it also
    /// creates the inbox partitions of the next days.
    ///
    /// It never deletes an entry that is younger than `inbox_retention`. Several processes may run it at the same time. A
    /// call that is aborted has done a part of the work.
    fn housekeeping(&self, inbox_retention: Duration) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes the progress of the keys of a state topic whose newest version is lower than `version`, because keys of
    /// such a topic may end, for example processes. `topic` has its prefix.
    ///
    /// A message with an older version would be applied again, so `version` must be older than every message that can
    /// still arrive twice.
    fn forget_states(&self, topic: &str, version: i64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the reasons why the delivery guarantee cannot be met on this store, one sentence each: asynchronous
    /// commits, a server that is not a replica set, missing collections. Empty if there are none.
    fn boot_problems(&self) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;
}
