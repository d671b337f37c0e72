//! One attempt at one mail.

use std::time::Duration;

use mongodb::bson;
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use tokio::time::Instant;

use super::breaker::Pass;
use super::{Shared, truth};
use crate::copies::Copies;
use crate::mail::Mail;
use crate::mail::queue::Missing;
use crate::server::{MailServer, NotSent};

/// One mail, taken in hand.
pub(super) struct Attempt {
    pub(super) mail: Mail,
    /// Not later than the database says: taken before it was asked.
    pub(super) claimed: Instant,
    pub(super) outcome: Outcome,
    /// The span of the sending; the mail's parent where nothing was sent.
    pub(super) trace: Context,
}

pub(super) enum Outcome {
    Sent,
    /// Never will be.
    Failed(String),
    /// Not to be sent any more, and nobody needs to be told.
    Dropped(&'static str),
    /// The server refused it for the time being.
    Later(String),
    /// The server can't be reached, which is not its fault: it goes back to where it was.
    Unreachable(String),
    /// It was not tried: it goes back to where it was.
    Released(String),
    Missing(Missing),
}

impl<S: MailServer> Shared<S> {
    pub(super) async fn attempt(&self, mail: Mail, claimed: Instant, copies: &Copies, mut pass: Pass) -> Attempt {
        let (outcome, trace) = self.deliver(&mail, claimed, copies, &mut pass).await;
        let too_old = mail.tried_for() + claimed.elapsed() >= self.working.give_up;
        let outcome = match outcome {
            Outcome::Later(reason) | Outcome::Unreachable(reason) if too_old => {
                Outcome::Failed(format!("given up: {reason}"))
            }
            Outcome::Missing(missing) if too_old => {
                Outcome::Failed(format!("given up: no {} was known", missing.name()))
            }
            outcome => outcome,
        };
        Attempt {
            mail,
            claimed,
            outcome,
            trace,
        }
    }

    async fn deliver(&self, mail: &Mail, claimed: Instant, copies: &Copies, pass: &mut Pass) -> (Outcome, Context) {
        let parent = mail.trace();
        let now = bson::DateTime::from_millis(after(mail.claimed_at(), claimed.elapsed()));
        let about = match truth::look(mail, copies, now) {
            Ok(about) => about,
            Err(outcome) => return (outcome, parent),
        };
        let letter = match self.letters.write(&about) {
            Ok(letter) => letter,
            Err(error) => {
                tracing::error!(mail = %mail.id(), error = chassis::error_chain(&error), "a letter can't be written");
                return (Outcome::Later("the letter can't be written".to_owned()), parent);
            }
        };
        // The last moment at which nothing has happened yet. From here on somebody else must not have it in hand.
        if claimed.elapsed() + self.working.letter >= self.working.claim {
            return (Outcome::Released("the claim would run out".to_owned()), parent);
        }
        let span = span(mail, &parent);
        let sent = tokio::time::timeout(self.working.letter, self.server.send(&letter)).await;
        let sent = sent.unwrap_or_else(|_| {
            Err(NotSent::Unreachable(
                "the mail server did not answer in time".to_owned(),
            ))
        });
        if let Err(error) = &sent {
            span.span().set_status(Status::error(error.to_string()));
        }
        span.span().end();
        let outcome = match sent {
            Ok(()) => Outcome::Sent,
            Err(NotSent::Refused(reason)) => Outcome::Failed(reason),
            Err(NotSent::Later(reason)) => Outcome::Later(reason),
            Err(NotSent::Unreachable(reason)) => {
                pass.unreachable(&reason);
                return (Outcome::Unreachable(reason), span);
            }
        };
        pass.reached();
        (outcome, span)
    }
}

/// So long after a time of the database's.
pub(super) fn after(time: bson::DateTime, duration: Duration) -> i64 {
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    time.timestamp_millis().saturating_add(millis)
}

/// A child of the span in which the message that caused the mail was handled.
fn span(mail: &Mail, parent: &Context) -> Context {
    let builder = SpanBuilder::from_name("send mail")
        .with_kind(SpanKind::Client)
        .with_attributes([
            KeyValue::new("rollcall.notification.id", mail.id().to_string()),
            KeyValue::new("rollcall.notification.kind", mail.label()),
            KeyValue::new("rollcall.notification.attempt", i64::from(mail.refusals) + 1),
        ]);
    let span = global::tracer("rollcall.notification").build_with_context(builder, parent);
    parent.with_span(span)
}
