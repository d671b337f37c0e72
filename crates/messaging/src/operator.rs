//! What a service does on `ops.commands` beyond what every service does.

use std::future::Future;

use contracts::aggregate::Rejected;
use contracts::ops::OpsCommand;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::handler::Failure;
use crate::ledger::Ledger;
use crate::message::Received;
use crate::unit::Unit;

/// Executes operations that are a service's own. Registered with [`Subscriptions::operate`].
///
/// It is asked once per command for this service, in the transaction that also writes the reply: a command that is
/// delivered twice is not seen twice. What it takes up may be anything, `ReleaseKey` and its like included.
///
/// [`Subscriptions::operate`]: crate::Subscriptions::operate
pub trait Operator<L: Ledger>: Send + Sync + 'static {
    fn operate(
        &self,
        unit: &mut Unit<L>,
        command: &Received<OpsCommand>,
    ) -> impl Future<Output = Result<Operated, Failure>> + Send;
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Operated {
    /// Not this operator's: the next one is asked.
    Unhandled,
    /// Done. The reply carries the value as its `result`. For `WhereIs`, an object: its fields are added to what every
    /// service answers.
    Done(Value),
    /// A business no.
    Rejected(Rejected),
}

/// An [`Operator`] of any type.
pub(crate) trait AnyOperator<L: Ledger>: Send + Sync {
    fn operate<'a>(
        &'a self,
        unit: &'a mut Unit<L>,
        command: &'a Received<OpsCommand>,
    ) -> BoxFuture<'a, Result<Operated, Failure>>;
}

impl<L: Ledger, O: Operator<L>> AnyOperator<L> for O {
    fn operate<'a>(
        &'a self,
        unit: &'a mut Unit<L>,
        command: &'a Received<OpsCommand>,
    ) -> BoxFuture<'a, Result<Operated, Failure>> {
        Box::pin(Operator::operate(self, unit, command))
    }
}
