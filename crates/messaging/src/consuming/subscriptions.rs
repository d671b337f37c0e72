//! All subscriptions of a service, on one screen.

use std::sync::Arc;

use contracts::{Message, Topic};

use crate::consuming::any_handler::Make;
use crate::consuming::handler::{Handler, LogHandler};
use crate::consuming::ops_handler::{AnyOpsHandler, OpsHandler};
use crate::consuming::subscription::Subscription;
use crate::ledger::Ledger;

/// The topics that a service consumes, each with a handler, a log handler, or both.
pub struct Subscriptions<L: Ledger> {
    pub(crate) subscriptions: Vec<Subscription<L>>,
    pub(crate) ops_handlers: Vec<Arc<dyn AnyOpsHandler<L>>>,
}

impl<L: Ledger> Clone for Subscriptions<L> {
    fn clone(&self) -> Self {
        Self {
            subscriptions: self.subscriptions.clone(),
            ops_handlers: self.ops_handlers.clone(),
        }
    }
}

impl<L: Ledger> Default for Subscriptions<L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: Ledger> Subscriptions<L> {
    /// Creates an empty list.
    pub fn new() -> Self {
        Self {
            subscriptions: Vec::new(),
            ops_handlers: Vec::new(),
        }
    }

    /// Subscribes a handler to the topic of its message type.
    ///
    /// `make` creates the handler of one lane. It is called again whenever what the previous handler may have cached is in
    /// doubt.
    ///
    /// # Panics
    /// Panics if the topic already has a handler, because only one handler can advance its position.
    #[must_use]
    pub fn handle<H: Handler<L>>(mut self, make: impl Fn() -> H + Send + Sync + 'static) -> Self {
        let topic = H::Message::TOPIC;
        let subscription = self.subscription_to(topic);
        assert!(
            subscription.handler.is_none(),
            "{} already has a handler, and only one handler can advance its position",
            topic.name
        );
        subscription.handler = Some(Arc::new(Make(make)));
        self
    }

    /// Subscribes a log handler to the raw records of a topic, in log order.
    ///
    /// If the topic has a handler too, both work in one transaction, and the log handler runs first.
    ///
    /// # Panics
    /// Panics if the topic already has a log handler.
    #[must_use]
    pub fn log<H: LogHandler<L>>(
        mut self,
        topic: &'static Topic,
        make: impl Fn() -> H + Send + Sync + 'static,
    ) -> Self {
        let subscription = self.subscription_to(topic);
        assert!(subscription.log.is_none(), "{} already has a log handler", topic.name);
        subscription.log = Some(Arc::new(move || Box::new(make())));
        self
    }

    /// Adds a handler for ops commands of this service, in addition to those that every service handles.
    ///
    /// The handlers are called in the order in which they were added, until one of them handles the command.
    #[must_use]
    pub fn handle_ops(mut self, handler: impl OpsHandler<L>) -> Self {
        self.ops_handlers.push(Arc::new(handler));
        self
    }

    /// Returns the topics, in the order in which they were added.
    pub fn topics(&self) -> impl Iterator<Item = &'static Topic> + '_ {
        self.subscriptions.iter().map(|subscription| subscription.topic)
    }

    /// Returns the subscription to the topic with this name (without prefix), if there is one.
    pub(crate) fn find(&self, topic: &str) -> Option<&Subscription<L>> {
        self.subscriptions
            .iter()
            .find(|subscription| subscription.topic.name == topic)
    }

    /// Returns the subscription to a topic, and creates it first if it does not exist.
    fn subscription_to(&mut self, topic: &'static Topic) -> &mut Subscription<L> {
        let known = self
            .subscriptions
            .iter()
            .position(|subscription| subscription.topic.name == topic.name);
        let index = known.unwrap_or_else(|| {
            self.subscriptions.push(Subscription {
                topic,
                log: None,
                handler: None,
            });
            self.subscriptions.len() - 1
        });
        &mut self.subscriptions[index]
    }
}
