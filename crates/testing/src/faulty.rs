//! A ledger that fails at the calls that a test chooses.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use messaging::TopicPartition;
use messaging::ledger::{
    CommitError, DeadLetter, DeliveryLog, InboxEntry, Ledger, Maintenance, MessageTrace, OpsQueries, Outbox,
    OutboxGauge, OutboxMessage, OutboxRow, Parked, PendingKey, PendingTopic, Sequence, Step, StoreError,
    StoreErrorKind, StoredDeadLetter, StoredSchema, TopicKey, Transactions,
};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// A ledger that forwards every call to another one, unless a test has ordered a fault.
///
/// Two of them over the same store act like two processes: each has its own faults.
#[derive(Clone)]
pub struct FaultyLedger<L> {
    inner: L,
    faults: Faults,
}

/// A transaction of a [`FaultyLedger`].
pub struct FaultyTx<L: Ledger> {
    inner: L::Tx,
    statements: usize,
}

impl<L: Ledger> FaultyTx<L> {
    /// Returns the transaction of the store.
    pub fn inner(&mut self) -> &mut L::Tx {
        &mut self.inner
    }
}

/// The result of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// The transaction is rolled back, and the caller knows it.
    RolledBack,
    /// The outcome is unknown to the caller, and the transaction is committed.
    UnknownCommitted,
    /// The outcome is unknown to the caller, and the transaction is rolled back.
    UnknownRolledBack,
}

/// The faults of a [`FaultyLedger`]. Calls are named like the methods of the [`Ledger`]'s traits.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Orders>>);

#[derive(Default)]
struct Orders {
    is_down: bool,
    calls: Vec<(&'static str, StoreErrorKind)>,
    statement: Option<(usize, StoreErrorKind)>,
    commits: Vec<CommitFault>,
    late: Vec<(Gate, Arc<Semaphore>)>,
    pauses: Vec<(&'static str, Gate)>,
    panics: Vec<&'static str>,
    seen: Vec<&'static str>,
}

#[derive(Clone)]
struct Gate {
    reached: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self {
            reached: Arc::new(Semaphore::new(0)),
            open: Arc::new(Semaphore::new(0)),
        }
    }

    async fn pass(&self) {
        self.reached.add_permits(1);
        // An error means that the semaphore is closed, which leaves the gate open forever.
        let _ = self.open.acquire().await;
    }
}

/// A call that waits. It continues at the latest when this value is dropped.
#[must_use = "dropping it lets the call continue"]
pub struct Pause(Gate);

impl Pause {
    /// Waits until the ledger reaches the call.
    pub async fn reached(&self) {
        let permit = self.0.reached.acquire().await.expect("the semaphore is never closed");
        permit.forget();
    }

    /// Lets the call continue.
    pub fn resume(self) {}
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.open.close();
    }
}

/// A commit that was reported with an unknown outcome and has not happened yet.
#[must_use = "dropping it lets the commit happen"]
pub struct LateCommit {
    gate: Gate,
    done: Arc<Semaphore>,
}

impl LateCommit {
    /// Waits until the commit was requested.
    pub async fn requested(&self) {
        let permit = self
            .gate
            .reached
            .acquire()
            .await
            .expect("the semaphore is never closed");
        permit.forget();
    }

    /// Lets the commit happen and waits until it has ended.
    pub async fn complete(self) {
        self.gate.open.close();
        let permit = self.done.acquire().await.expect("the semaphore is never closed");
        permit.forget();
    }
}

impl Drop for LateCommit {
    fn drop(&mut self) {
        self.gate.open.close();
    }
}

impl Faults {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes every call fail with the kind `Unavailable`, until it is called with `false`.
    pub fn set_down(&self, is_down: bool) {
        self.orders().is_down = is_down;
    }

    /// Makes the next call with that name fail with this kind. Several orders apply to successive calls.
    pub fn fail(&self, call: &'static str, kind: StoreErrorKind) {
        self.orders().calls.push((call, kind));
    }

    /// Makes the next transaction that reaches its `n`-th statement (1 is the first) fail there.
    pub fn fail_statement(&self, n: usize, kind: StoreErrorKind) {
        self.orders().statement = Some((n, kind));
    }

    /// Sets the result of the next commit. Several orders apply to successive commits.
    pub fn commit(&self, fault: CommitFault) {
        self.orders().commits.push(fault);
    }

    /// Gives the next commit an unknown outcome, and delays it until the test lets it happen.
    pub fn commit_late(&self) -> LateCommit {
        let (gate, done) = (Gate::new(), Arc::new(Semaphore::new(0)));
        self.orders().late.push((gate.clone(), Arc::clone(&done)));
        LateCommit { gate, done }
    }

    /// Makes the next call with that name wait until the test lets it continue.
    pub fn pause_before(&self, call: &'static str) -> Pause {
        let gate = Gate::new();
        self.orders().pauses.push((call, gate.clone()));
        Pause(gate)
    }

    /// Makes the next call with that name panic.
    pub fn panic_at(&self, call: &'static str) {
        self.orders().panics.push(call);
    }

    /// Returns the calls since the last call of this method, in order.
    pub fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.orders().seen)
    }

    async fn at(&self, call: &'static str) -> Result<(), StoreError> {
        let pause = {
            let mut orders = self.orders();
            orders.seen.push(call);
            let index = orders.pauses.iter().position(|(name, _)| *name == call);
            let pause = index.map(|index| orders.pauses.remove(index).1);
            if let Some(index) = orders.panics.iter().position(|name| *name == call) {
                orders.panics.remove(index);
                drop(orders);
                panic!("a test ordered this fault");
            }
            pause
        };
        if let Some(gate) = pause {
            gate.pass().await;
        }
        let mut orders = self.orders();
        if orders.is_down {
            return Err(fault(StoreErrorKind::Unavailable));
        }
        match orders.calls.iter().position(|(name, _)| *name == call) {
            Some(index) => Err(fault(orders.calls.remove(index).1)),
            None => Ok(()),
        }
    }

    async fn at_statement(&self, call: &'static str, number: &mut usize) -> Result<(), StoreError> {
        self.at(call).await?;
        *number += 1;
        let mut orders = self.orders();
        match orders.statement.take_if(|(n, _)| *n == *number) {
            Some((_, kind)) => Err(fault(kind)),
            None => Ok(()),
        }
    }
}

fn fault(kind: StoreErrorKind) -> StoreError {
    StoreError::new(kind, "a test ordered this fault")
}

impl<L: Ledger> FaultyLedger<L> {
    pub fn new(inner: L) -> Self {
        Self {
            inner,
            faults: Faults::default(),
        }
    }

    /// Returns the faults, for the test to order some.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl<L: Ledger> Transactions for FaultyLedger<L> {
    type Tx = FaultyTx<L>;

    async fn ping(&self) -> Result<(), StoreError> {
        self.faults.at("ping").await?;
        self.inner.ping().await
    }

    async fn begin(&self) -> Result<FaultyTx<L>, StoreError> {
        self.faults.at("begin").await?;
        Ok(FaultyTx {
            inner: self.inner.begin().await?,
            statements: 0,
        })
    }

    async fn commit(&self, tx: FaultyTx<L>) -> Result<(), CommitError> {
        if let Err(error) = self.faults.at("commit").await {
            self.inner.rollback(tx.inner).await;
            return Err(CommitError::RolledBack(error));
        }
        let unknown = || CommitError::Unknown(fault(StoreErrorKind::Unavailable));
        let (late, ordered) = {
            let mut orders = self.faults.orders();
            let late = (!orders.late.is_empty()).then(|| orders.late.remove(0));
            let ordered = (late.is_none() && !orders.commits.is_empty()).then(|| orders.commits.remove(0));
            (late, ordered)
        };
        if let Some((gate, done)) = late {
            let ledger = self.inner.clone();
            tokio::spawn(async move {
                gate.pass().await;
                // The test checks the outcome.
                let _ = ledger.commit(tx.inner).await;
                done.add_permits(1);
            });
            return Err(unknown());
        }
        match ordered {
            None => {
                self.inner.commit(tx.inner).await?;
                // Only the confirmation is left to fail.
                self.faults.at("committed").await.map_err(CommitError::Unknown)
            }
            Some(CommitFault::RolledBack) => {
                self.inner.rollback(tx.inner).await;
                Err(CommitError::RolledBack(fault(StoreErrorKind::Unavailable)))
            }
            Some(CommitFault::UnknownRolledBack) => {
                self.inner.rollback(tx.inner).await;
                Err(unknown())
            }
            Some(CommitFault::UnknownCommitted) => {
                self.inner.commit(tx.inner).await?;
                Err(unknown())
            }
        }
    }

    async fn rollback(&self, tx: FaultyTx<L>) {
        // A rollback cannot fail, but it is recorded and paused like any other call.
        let _ = self.faults.at("rollback").await;
        self.inner.rollback(tx.inner).await;
    }
}

impl<L: Ledger> DeliveryLog for FaultyLedger<L> {
    async fn positions(&self, partitions: &[TopicPartition]) -> Result<HashMap<TopicPartition, i64>, StoreError> {
        self.faults.at("positions").await?;
        self.inner.positions(partitions).await
    }

    async fn advance_all(&self, tx: &mut FaultyTx<L>, steps: &[Step]) -> Result<bool, StoreError> {
        self.faults.at_statement("advance", &mut tx.statements).await?;
        self.inner.advance_all(&mut tx.inner, steps).await
    }

    async fn lock_position(&self, tx: &mut FaultyTx<L>, partition: &TopicPartition) -> Result<(), StoreError> {
        self.faults.at_statement("lock_position", &mut tx.statements).await?;
        self.inner.lock_position(&mut tx.inner, partition).await
    }

    async fn insert_inbox(
        &self,
        tx: &mut FaultyTx<L>,
        messages: &[InboxEntry],
    ) -> Result<HashSet<(Uuid, i32)>, StoreError> {
        self.faults.at_statement("insert_inbox", &mut tx.statements).await?;
        self.inner.insert_inbox(&mut tx.inner, messages).await
    }

    async fn sequences(
        &self,
        tx: &mut FaultyTx<L>,
        keys: &[TopicKey],
    ) -> Result<Vec<(TopicKey, Sequence)>, StoreError> {
        self.faults.at_statement("sequences", &mut tx.statements).await?;
        self.inner.sequences(&mut tx.inner, keys).await
    }

    async fn set_sequences(
        &self,
        tx: &mut FaultyTx<L>,
        new: &[(TopicKey, Sequence)],
        changed: &[(TopicKey, Sequence)],
    ) -> Result<(), StoreError> {
        self.faults.at_statement("set_sequences", &mut tx.statements).await?;
        self.inner.set_sequences(&mut tx.inner, new, changed).await
    }

    async fn parked(
        &self,
        tx: &mut FaultyTx<L>,
        key: &TopicKey,
        from: i64,
        limit: i64,
    ) -> Result<Vec<Parked>, StoreError> {
        self.faults.at_statement("parked", &mut tx.statements).await?;
        self.inner.parked(&mut tx.inner, key, from, limit).await
    }

    async fn park(&self, tx: &mut FaultyTx<L>, rows: &[Parked]) -> Result<Vec<(TopicKey, i64)>, StoreError> {
        self.faults.at_statement("park", &mut tx.statements).await?;
        self.inner.park(&mut tx.inner, rows).await
    }

    async fn unpark(&self, tx: &mut FaultyTx<L>, rows: &[(TopicKey, i64)]) -> Result<(), StoreError> {
        self.faults.at_statement("unpark", &mut tx.statements).await?;
        self.inner.unpark(&mut tx.inner, rows).await
    }

    async fn insert_dead_letters(&self, tx: &mut FaultyTx<L>, dead_letters: &[DeadLetter]) -> Result<(), StoreError> {
        self.faults
            .at_statement("insert_dead_letters", &mut tx.statements)
            .await?;
        self.inner.insert_dead_letters(&mut tx.inner, dead_letters).await
    }

    async fn erase(&self, tx: &mut FaultyTx<L>, topics: &[String], keys: &[Uuid]) -> Result<(), StoreError> {
        self.faults.at_statement("erase", &mut tx.statements).await?;
        self.inner.erase(&mut tx.inner, topics, keys).await
    }

    async fn schemas(&self) -> Result<Vec<StoredSchema>, StoreError> {
        self.faults.at("schemas").await?;
        self.inner.schemas().await
    }

    async fn save_schemas(&self, schemas: &[StoredSchema]) -> Result<(), StoreError> {
        self.faults.at("save_schemas").await?;
        self.inner.save_schemas(schemas).await
    }
}

impl<L: Ledger> Outbox for FaultyLedger<L> {
    type RowId = L::RowId;

    async fn append(
        &self,
        tx: &mut FaultyTx<L>,
        owner: Uuid,
        messages: &[OutboxMessage],
    ) -> Result<Vec<L::RowId>, StoreError> {
        self.faults.at_statement("append", &mut tx.statements).await?;
        self.inner.append(&mut tx.inner, owner, messages).await
    }

    async fn acknowledge(
        &self,
        rows: &[(L::RowId, Uuid)],
        offsets: &[(TopicPartition, i64)],
    ) -> Result<(), StoreError> {
        self.faults.at("acknowledge").await?;
        self.inner.acknowledge(rows, offsets).await
    }

    async fn sweep(&self, owner: Uuid, min_age: Duration, limit: i64) -> Result<Vec<OutboxRow<L::RowId>>, StoreError> {
        self.faults.at("sweep").await?;
        self.inner.sweep(owner, min_age, limit).await
    }

    async fn take_due(
        &self,
        owner: Uuid,
        limit: i64,
    ) -> Result<(Vec<OutboxRow<L::RowId>>, Option<Duration>), StoreError> {
        self.faults.at("take_due").await?;
        self.inner.take_due(owner, limit).await
    }

    async fn adopt(&self, owner: Uuid, limit: i64) -> Result<Vec<OutboxRow<L::RowId>>, StoreError> {
        self.faults.at("adopt").await?;
        self.inner.adopt(owner, limit).await
    }

    async fn start_lease(&self, owner: Uuid, length: Duration) -> Result<(), StoreError> {
        self.faults.at("start_lease").await?;
        self.inner.start_lease(owner, length).await
    }

    async fn renew_lease(&self, owner: Uuid, length: Duration) -> Result<bool, StoreError> {
        self.faults.at("renew_lease").await?;
        self.inner.renew_lease(owner, length).await
    }

    async fn end_lease(&self, owner: Uuid) -> Result<(), StoreError> {
        self.faults.at("end_lease").await?;
        self.inner.end_lease(owner).await
    }

    async fn outbox_gauge(&self) -> Result<OutboxGauge, StoreError> {
        self.faults.at("outbox_gauge").await?;
        self.inner.outbox_gauge().await
    }
}

impl<L: Ledger> OpsQueries for FaultyLedger<L> {
    async fn pending_topics(&self) -> Result<Vec<PendingTopic>, StoreError> {
        self.faults.at("pending_topics").await?;
        self.inner.pending_topics().await
    }

    async fn pending_keys(
        &self,
        tx: &mut FaultyTx<L>,
        after: Option<(&str, Uuid)>,
        limit: i64,
    ) -> Result<Vec<PendingKey>, StoreError> {
        self.faults.at_statement("pending_keys", &mut tx.statements).await?;
        self.inner.pending_keys(&mut tx.inner, after, limit).await
    }

    async fn count_dead_letters(&self) -> Result<i64, StoreError> {
        self.faults.at("count_dead_letters").await?;
        self.inner.count_dead_letters().await
    }

    async fn list_dead_letters(
        &self,
        tx: &mut FaultyTx<L>,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<StoredDeadLetter>, StoreError> {
        self.faults
            .at_statement("list_dead_letters", &mut tx.statements)
            .await?;
        self.inner.list_dead_letters(&mut tx.inner, before, limit).await
    }

    async fn dead_letter(&self, tx: &mut FaultyTx<L>, id: Uuid) -> Result<Option<StoredDeadLetter>, StoreError> {
        self.faults.at_statement("dead_letter", &mut tx.statements).await?;
        self.inner.dead_letter(&mut tx.inner, id).await
    }

    async fn mark_redriven(&self, tx: &mut FaultyTx<L>, id: Uuid, command: Uuid) -> Result<(), StoreError> {
        self.faults.at_statement("mark_redriven", &mut tx.statements).await?;
        self.inner.mark_redriven(&mut tx.inner, id, command).await
    }

    async fn discard_dead_letter(&self, tx: &mut FaultyTx<L>, id: Uuid) -> Result<bool, StoreError> {
        self.faults
            .at_statement("discard_dead_letter", &mut tx.statements)
            .await?;
        self.inner.discard_dead_letter(&mut tx.inner, id).await
    }

    async fn find_message(&self, tx: &mut FaultyTx<L>, id: Uuid) -> Result<MessageTrace, StoreError> {
        self.faults.at_statement("find_message", &mut tx.statements).await?;
        self.inner.find_message(&mut tx.inner, id).await
    }
}

impl<L: Ledger> Maintenance for FaultyLedger<L> {
    async fn housekeeping(&self, inbox_retention: Duration) -> Result<(), StoreError> {
        self.faults.at("housekeeping").await?;
        self.inner.housekeeping(inbox_retention).await
    }

    async fn forget_states(&self, topic: &str, version: i64) -> Result<(), StoreError> {
        self.faults.at("forget_states").await?;
        self.inner.forget_states(topic, version).await
    }

    async fn boot_problems(&self) -> Result<Vec<String>, StoreError> {
        self.faults.at("boot_problems").await?;
        self.inner.boot_problems().await
    }
}
