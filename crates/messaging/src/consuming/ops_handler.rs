//! Handlers of ops commands that only one service has.

use std::future::Future;

use contracts::aggregate::Rejection;
use contracts::ops::OpsCommand;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::consuming::handler::Failure;
use crate::ledger::Ledger;
use crate::publishing::unit::Unit;
use crate::wire::message::Received;

/// Handles ops commands of one service. Registered with [`Subscriptions::handle_ops`].
///
/// It is called once per command for this service, in the transaction that also writes the reply. A command that is
/// delivered twice is handled once. It may handle any command, including those that every service handles, such as
/// `ReleaseKey`.
///
/// [`Subscriptions::handle_ops`]: crate::Subscriptions::handle_ops
pub trait OpsHandler<L: Ledger>: Send + Sync + 'static {
    /// Handles a command, or returns [`OpsOutcome::Unhandled`].
    fn handle(
        &self,
        unit: &mut Unit<L>,
        command: &Received<OpsCommand>,
    ) -> impl Future<Output = Result<OpsOutcome, Failure>> + Send;
}

/// The outcome of an ops command.
#[derive(Debug, Clone, PartialEq)]
pub enum OpsOutcome {
    /// This handler does not handle the command: the next handler is called.
    Unhandled,
    /// The command was executed. The reply contains the value as its `result`. For `WhereIs`, the value is an object whose
    /// fields are added to the result that every service returns.
    Done(Value),
    /// The command was rejected.
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
