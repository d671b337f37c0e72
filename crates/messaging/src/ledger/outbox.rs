use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use uuid::Uuid;

use super::{OutboxGauge, OutboxMessage, OutboxRow, StoreError, Transactions};
use crate::wire::record::TopicPartition;

/// The outbox, and the leases of the relays that publish it.
///
/// Only [`append`](Self::append) writes in the caller's transaction; every other method is a separate transaction. Each
/// row belongs to one owner, the relay lease under which it was appended. A row with a due time belongs to no owner until
/// a relay takes it.
pub trait Outbox: Transactions {
    /// Identifies a row. Its order has no meaning.
    type RowId: Copy + Eq + Hash + Debug + Send + Sync + 'static;

    /// Appends messages in their order, for `owner`; those with a due time get no owner.
    ///
    /// Returns their row ids in the same order. A [`sweep`](Self::sweep) returns rows that one process appended in the
    /// order in which it appended them. No relay finds a row before the commit.
    fn append(
        &self,
        tx: &mut Self::Tx,
        owner: Uuid,
        messages: &[OutboxMessage],
    ) -> impl Future<Output = Result<Vec<Self::RowId>, StoreError>> + Send;

    /// Deletes published rows and stores the newest acknowledged offset of each partition.
    ///
    /// A row that no longer belongs to the given owner stays, because another relay has adopted it. An offset never goes
    /// back. The call may be repeated, also after an error. A crash in between or after it can leave rows, which are then
    /// published twice, but it never leaves a deleted row without its offset.
    fn acknowledge(
        &self,
        rows: &[(Self::RowId, Uuid)],
        offsets: &[(TopicPartition, i64)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns at most `limit` of this owner's rows that were appended at least `min_age` ago, oldest first. Without
    /// a `min_age` (zero) it returns rows of any age. It changes and locks nothing.
    fn sweep(
        &self,
        owner: Uuid,
        min_age: Duration,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<OutboxRow<Self::RowId>>, StoreError>> + Send;

    /// Makes `owner` the owner of at most `limit` rows that have fallen due.
    ///
    /// Returns these rows, and the time until the next row falls due: zero if one is due now, at most an hour on Postgres,
    /// `None` if no row is delayed. No row is returned to two callers. A row may get a new id.
    #[expect(clippy::type_complexity, reason = "the sentence above explains the pair")]
    fn take_due(
        &self,
        owner: Uuid,
        limit: i64,
    ) -> impl Future<Output = Result<(Vec<OutboxRow<Self::RowId>>, Option<Duration>), StoreError>> + Send;

    /// Makes `owner` the owner of at most `limit` rows of other owners that have no live lease, whether their lease has
    /// expired or was never started.
    ///
    /// Returns these rows. No row is returned to two callers.
    fn adopt(
        &self,
        owner: Uuid,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<OutboxRow<Self::RowId>>, StoreError>> + Send;

    /// Starts a lease of this length, by the clock of the database. An existing one is overwritten.
    fn start_lease(&self, owner: Uuid, length: Duration) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Extends a live lease to this length from now, by the clock of the database.
    ///
    /// Returns `false` if the lease has expired or does not exist. Then nothing changes, because another relay may have
    /// adopted the rows already.
    fn renew_lease(&self, owner: Uuid, length: Duration) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Ends a lease so that other relays adopt the remaining rows immediately. A missing one is not an error.
    fn end_lease(&self, owner: Uuid) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Measures the outbox for metrics. The number of rows of a long outbox is an estimate.
    fn outbox_gauge(&self) -> impl Future<Output = Result<OutboxGauge, StoreError>> + Send;
}
