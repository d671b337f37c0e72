//! What a service does on `ops.commands` beyond what every service does.

use std::future::Future;

use contracts::aggregate::Rejection;
use contracts::ops::OpsCommand;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::consuming::handler::Failure;
use crate::ledger::Ledger;
use crate::publishing::unit::Unit;
use crate::wire::message::Received;

/// Executes operations that are a service's own. Registered with [`Subscriptions::handle_ops`].
///
/// It is asked once per command for this service, in the transaction that also writes the reply: a command that is
/// delivered twice is not seen twice. What it takes up may be anything, `ReleaseKey` and its like included.
///
/// [`Subscriptions::handle_ops`]: crate::Subscriptions::handle_ops
pub trait OpsHandler<L: Ledger>: Send + Sync + 'static {
    fn handle(
        &self,
        unit: &mut Unit<L>,
        command: &Received<OpsCommand>,
    ) -> impl Future<Output = Result<OpsOutcome, Failure>> + Send;
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum OpsOutcome {
    /// Not this operator's: the next one is asked.
    Unhandled,
    /// Done. The reply carries the value as its `result`. For `WhereIs`, an object: its fields are added to what every
    /// service answers.
    Done(Value),
    /// A business no.
    Rejected(Rejection),
}

/// An [`OpsHandler`] of any type.
pub(crate) trait AnyOpsHandler<L: Ledger>: Send + Sync {
    fn handle<'a>(
        &'a self,
        unit: &'a mut Unit<L>,
        command: &'a Received<OpsCommand>,
    ) -> BoxFuture<'a, Result<OpsOutcome, Failure>>;
}

impl<L: Ledger, O: OpsHandler<L>> AnyOpsHandler<L> for O {
    fn handle<'a>(
        &'a self,
        unit: &'a mut Unit<L>,
        command: &'a Received<OpsCommand>,
    ) -> BoxFuture<'a, Result<OpsOutcome, Failure>> {
        Box::pin(OpsHandler::handle(self, unit, command))
    }
}
