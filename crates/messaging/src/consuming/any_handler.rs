//! Handlers and messages of any type, so that one transaction contains the messages of several topics.

use std::any::Any;

use contracts::aggregate::Rejection;
use contracts::{Codec, Kind, Message, codec};
use futures::future::BoxFuture;

use crate::consuming::handler::{Failure, Handler, LogHandler};
use crate::ledger::Ledger;
use crate::publishing::publisher::AppendError;
use crate::publishing::unit::Unit;
use crate::wire::envelope::Envelope;
use crate::wire::message::{Cause, Received};
use crate::wire::record::Record;
use crate::wire::trace;

/// A [`Received`] message of any type.
pub(crate) trait AnyMessage: Any + Send + Sync {
    fn envelope(&self) -> &Envelope;

    fn cause(&self) -> Cause;

    /// Starts the `process` span.
    fn start_span(&self, service: &str);

    /// Ends the `process` span.
    fn end_span(&self);
}

impl<M: Message> AnyMessage for Received<M> {
    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn cause(&self) -> Cause {
        Received::cause(self)
    }

    fn start_span(&self, service: &str) {
        trace::start_process(service, self);
    }

    fn end_span(&self) {
        trace::end_process(self);
    }
}

/// A [`Handler`] of any type.
pub(crate) trait AnyHandler<L: Ledger>: Send {
    fn handle<'a>(
        &'a mut self,
        unit: &'a mut Unit<L>,
        messages: &'a [&'a dyn AnyMessage],
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

impl<L: Ledger, H: Handler<L>> AnyHandler<L> for H {
    fn handle<'a>(
        &'a mut self,
        unit: &'a mut Unit<L>,
        messages: &'a [&'a dyn AnyMessage],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let messages: Vec<_> = messages.iter().map(|message| typed::<H::Message>(*message)).collect();
            Handler::handle(self, unit, &messages).await
        })
    }
}

/// The handler type of a topic: creates handlers, and knows the type of their messages.
pub(crate) trait HandlerType<L: Ledger>: Send + Sync {
    fn create(&self) -> Box<dyn AnyHandler<L>>;

    fn decode(&self, codec: &Codec, envelope: Envelope, record: &Record) -> Decoded;

    /// Defers a command, as [`Unit::defer`] does.
    fn defer(&self, unit: &mut Unit<L>, command: &dyn AnyMessage, rejection: &Rejection) -> Result<(), AppendError>;
}

/// The result of decoding a record's value.
pub(crate) enum Decoded {
    Message(Box<dyn AnyMessage>),
    /// The topic's type does not contain this message type.
    UnknownType(Envelope),
    Failed(Envelope, codec::Error),
}

/// The [`HandlerType`] of the handlers that `make` returns.
pub(crate) struct Make<F>(pub(crate) F);

impl<L: Ledger, H: Handler<L>, F: Fn() -> H + Send + Sync> HandlerType<L> for Make<F> {
    fn create(&self) -> Box<dyn AnyHandler<L>> {
        Box::new((self.0)())
    }

    fn decode(&self, codec: &Codec, envelope: Envelope, record: &Record) -> Decoded {
        let body = match &record.value {
            Some(value) => H::Message::decode(codec, &envelope.type_name, value),
            None if H::Message::TOPIC.kind == Kind::State => Ok(H::Message::tombstone()),
            None => Err(codec::Error::NotFramed("the record has no value")),
        };
        match body {
            Ok(Some(body)) => {
                let message = Received::new(envelope, body, record.partition.clone(), record.offset);
                Decoded::Message(Box::new(message))
            }
            Ok(None) => Decoded::UnknownType(envelope),
            Err(error) => Decoded::Failed(envelope, error),
        }
    }

    fn defer(&self, unit: &mut Unit<L>, command: &dyn AnyMessage, rejection: &Rejection) -> Result<(), AppendError> {
        unit.defer(typed::<H::Message>(command), rejection)
    }
}

/// Returns the message as the type that the handler type of its topic has decoded.
fn typed<M: Message>(message: &dyn AnyMessage) -> &Received<M> {
    let message: &dyn Any = message;
    message
        .downcast_ref()
        .expect("the handler type of a topic decodes its messages")
}

/// A [`LogHandler`] of any type.
pub(crate) trait AnyLogHandler<L: Ledger>: Send {
    fn handle<'a>(
        &'a mut self,
        unit: &'a mut Unit<L>,
        records: &'a [&'a Record],
    ) -> BoxFuture<'a, Result<u64, Failure>>;

    fn stub<'a>(
        &'a mut self,
        unit: &'a mut Unit<L>,
        record: &'a Record,
        description: &'a str,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

impl<L: Ledger, H: LogHandler<L>> AnyLogHandler<L> for H {
    fn handle<'a>(
        &'a mut self,
        unit: &'a mut Unit<L>,
        records: &'a [&'a Record],
    ) -> BoxFuture<'a, Result<u64, Failure>> {
        Box::pin(LogHandler::handle(self, unit, records))
    }

    fn stub<'a>(
        &'a mut self,
        unit: &'a mut Unit<L>,
        record: &'a Record,
        description: &'a str,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(LogHandler::stub(self, unit, record, description))
    }
}
