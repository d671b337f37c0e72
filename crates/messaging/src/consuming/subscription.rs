//! The subscription to one topic, whatever the types of its handlers.

use std::sync::Arc;

use contracts::{Kind, Topic};

use crate::consuming::any_handler::{AnyLogHandler, HandlerType};
use crate::ledger::Ledger;

/// Creates the log handler of one lane.
pub(super) type MakeLog<L> = Arc<dyn Fn() -> Box<dyn AnyLogHandler<L>> + Send + Sync>;

/// The handlers that a service has for one topic: a handler, a log handler, or both.
pub(crate) struct Subscription<L: Ledger> {
    pub(crate) topic: &'static Topic,
    pub(super) log: Option<MakeLog<L>>,
    pub(crate) handler: Option<Arc<dyn HandlerType<L>>>,
}

impl<L: Ledger> Subscription<L> {
    pub(super) fn kind(&self) -> Kind {
        self.topic.kind
    }
}

impl<L: Ledger> Clone for Subscription<L> {
    fn clone(&self) -> Self {
        Self {
            topic: self.topic,
            log: self.log.clone(),
            handler: self.handler.clone(),
        }
    }
}
