//! One attempt to send one e-mail.

use std::time::Duration;

use mongodb::bson;
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use tokio::time::Instant;

use super::breaker::Permit;
use super::{Shared, precheck};
use crate::copies::Copies;
use crate::mail::Mail;
use crate::mail::queue::Missing;
use crate::server::{MailServer, SendError};

/// A claimed e-mail and the outcome of the attempt to send it.
pub(super) struct Attempt {
    pub(super) mail: Mail,
    /// Time of the claim by the local clock. It is read before the database is called, so it is not later than the
    /// database's time of the claim.
    pub(super) claimed: Instant,
    pub(super) outcome: Outcome,
    /// The span of the attempt, or the parent span of the e-mail if nothing was sent.
    pub(super) trace: Context,
}

pub(super) enum Outcome {
    Sent,
    /// The e-mail cannot be sent, and `NotificationFailed` is published.
    Failed(String),
    /// The e-mail is outdated or not wanted any more. No fact is published.
    Dropped(&'static str),
    /// The server rejected the e-mail temporarily.
    Deferred(String),
    /// The server is unreachable. The e-mail is due again immediately, and its rejections are not counted.
    Unreachable(String),
    /// The e-mail was not tried and is due again immediately.
    Released(String),
    /// Data that the e-mail needs has not arrived yet.
    Missing(Missing),
}

impl<S: MailServer> Shared<S> {
    pub(super) async fn attempt(&self, mail: Mail, claimed: Instant, copies: &Copies, mut permit: Permit) -> Attempt {
        let (outcome, trace) = self.deliver(&mail, claimed, copies, &mut permit).await;
        let too_old = mail.tried_for() + claimed.elapsed() >= self.settings.max_retry_time;
        let outcome = match outcome {
            Outcome::Deferred(reason) | Outcome::Unreachable(reason) if too_old => {
                Outcome::Failed(format!("not sent within the maximum retry time: {reason}"))
            }
            Outcome::Missing(missing) if too_old => Outcome::Failed(format!(
                "not sent within the maximum retry time: the {} is unknown",
                missing.name()
            )),
            outcome => outcome,
        };
        Attempt {
            mail,
            claimed,
            outcome,
            trace,
        }
    }

    async fn deliver(&self, mail: &Mail, claimed: Instant, copies: &Copies, permit: &mut Permit) -> (Outcome, Context) {
        let parent = mail.trace();
        let now = bson::DateTime::from_millis(after(mail.claimed_at(), claimed.elapsed()));
        let input = match precheck::check(mail, copies, now) {
            Ok(input) => input,
            Err(outcome) => return (outcome, parent),
        };
        let rendered = match self.templates.render(&input) {
            Ok(rendered) => rendered,
            Err(error) => {
                let id = mail.id();
                tracing::error!(mail = %id, error = chassis::error_chain(&error), "cannot render e-mail {id}");
                return (Outcome::Deferred("the e-mail could not be rendered".to_owned()), parent);
            }
        };
        // Nothing has been sent so far. From here on, no other process may claim the e-mail until the attempt has
        // ended.
        if claimed.elapsed() + self.settings.send_timeout >= self.settings.claim_duration {
            return (
                Outcome::Released("the claim could expire during sending".to_owned()),
                parent,
            );
        }
        let span = span(mail, &parent);
        let sent = tokio::time::timeout(self.settings.send_timeout, self.server.send(&rendered)).await;
        let sent = sent.unwrap_or_else(|_| {
            Err(SendError::Unreachable(
                "the mail server did not respond in time".to_owned(),
            ))
        });
        if let Err(error) = &sent {
            span.span().set_status(Status::error(error.to_string()));
        }
        span.span().end();
        let outcome = match sent {
            Ok(()) => Outcome::Sent,
            Err(SendError::Permanent(reason)) => Outcome::Failed(reason),
            Err(SendError::Temporary(reason)) => Outcome::Deferred(reason),
            Err(SendError::Unreachable(reason)) => {
                permit.record_unreachable(&reason);
                return (Outcome::Unreachable(reason), span);
            }
        };
        permit.record_reachable();
        (outcome, span)
    }
}

/// Returns the time `duration` after a time of the database, in milliseconds since 1970.
pub(super) fn after(time: bson::DateTime, duration: Duration) -> i64 {
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    time.timestamp_millis().saturating_add(millis)
}

/// Starts the span of an attempt, as a child of the span in which the cause of the e-mail was handled.
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
