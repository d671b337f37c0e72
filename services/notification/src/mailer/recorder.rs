//! Records the outcomes of e-mails: the new state and the fact that is published about it, in one transaction.

use std::collections::HashSet;
use std::time::Duration;

use chassis::error_chain;
use contracts::{NotificationFact, NotificationFailed, NotificationSent, Timestamp};
use futures::TryStreamExt;
use messaging::ledger::StoreError;
use messaging::{AppendError, Outgoing, Unit};
use mongo::{Mongo, Update, from_bson, store_error};
use mongodb::bson::{self, Document, doc};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::attempt::{Attempt, Outcome, after};
use super::{FIRST_PAUSE, LONGEST_PAUSE, Shared};
use crate::mail::{MAILS, Mail, State};

/// Maximum number of e-mails in one transaction.
const BATCH: usize = 100;
/// Total time of the pauses between retries while the process drains and the store is unreachable.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the outcomes of e-mails were not recorded")]
    Store(#[from] StoreError),
    #[error("the fact about an e-mail cannot be published")]
    Append(#[from] AppendError),
    #[error("the outcomes of e-mails were not committed")]
    Commit(#[from] messaging::ledger::CommitError),
}

/// Records attempts until all senders have ended. Retries until the store is reachable; after `stop`, retries only until
/// [`DRAIN_TIMEOUT`] has passed.
pub(super) async fn run<S>(shared: &Shared<S>, mut attempts: mpsc::Receiver<Attempt>, stop: CancellationToken) {
    let mut batch = Vec::with_capacity(BATCH);
    while attempts.recv_many(&mut batch, BATCH).await > 0 {
        let mut pause = FIRST_PAUSE;
        let mut remaining = DRAIN_TIMEOUT;
        while let Err(error) = record(shared, &batch).await {
            // If the outcome of the commit is unknown, the retry finds the e-mails that are already recorded.
            tracing::warn!(
                mails = batch.len(),
                error = error_chain(&error),
                "cannot record the outcomes of e-mails; retrying"
            );
            if stop.is_cancelled() {
                if remaining.is_zero() {
                    tracing::error!(
                        mails = batch.len(),
                        "the process ends before it could record the outcomes of e-mails; they will be sent again under the same Message-ID"
                    );
                    break;
                }
                remaining = remaining.saturating_sub(pause);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        count(shared, &batch);
        batch.clear();
    }
}

async fn record<S>(shared: &Shared<S>, attempts: &[Attempt]) -> Result<(), Error> {
    let mut unit = Unit::begin(&shared.mongo, &shared.publisher).await?;
    match write(shared, &mut unit, attempts).await {
        Ok(()) => Ok(unit.commit().await?),
        Err(error) => {
            unit.rollback().await;
            Err(error)
        }
    }
}

async fn write<S>(shared: &Shared<S>, unit: &mut Unit<Mongo>, attempts: &[Attempt]) -> Result<(), Error> {
    let mut pending = pending(unit, attempts).await?;
    let mut updates = Vec::with_capacity(attempts.len());
    let now = Timestamp::now();
    for attempt in attempts {
        let mail = &attempt.mail;
        let is_final = matches!(
            attempt.outcome,
            Outcome::Sent | Outcome::Failed(_) | Outcome::Dropped(_)
        );
        // Another process claimed the e-mail after the claim had expired, and has already recorded its outcome. Only
        // one fact is published for each e-mail.
        if is_final && !pending.remove(&mail.id()) {
            continue;
        }
        let fact: Option<NotificationFact> = match &attempt.outcome {
            Outcome::Sent => Some(sent(mail, now).into()),
            Outcome::Failed(reason) => Some(failed(mail, reason, now).into()),
            Outcome::Dropped(_)
            | Outcome::Deferred(_)
            | Outcome::Unreachable(_)
            | Outcome::Released(_)
            | Outcome::Missing(_) => None,
        };
        if let Some(fact) = fact {
            let cause = mail.cause(attempt.trace.clone());
            unit.publish(&cause, Outgoing::<NotificationFact>::new(mail.user(), fact).time(now))?;
        }
        updates.push(update(shared, attempt, now));
    }
    unit.tx().update_each(MAILS, updates).await?;
    Ok(())
}

/// Returns the ids of the e-mails that are still pending.
async fn pending(unit: &mut Unit<Mongo>, attempts: &[Attempt]) -> Result<HashSet<Uuid>, StoreError> {
    #[derive(Deserialize)]
    struct Row {
        _id: bson::Uuid,
    }
    let ids: Vec<_> = attempts
        .iter()
        .map(|attempt| mongo::to_bson(attempt.mail.id()))
        .collect();
    let filter = doc! { "_id": { "$in": ids }, "state": State::Pending.name() };
    let tx = unit.tx();
    let mut rows = tx
        .collection::<Row>(MAILS)
        .find(filter)
        .projection(doc! { "_id": 1 })
        .session(tx.session())
        .await
        .map_err(store_error)?;
    let rows = rows.stream(tx.session()).map_ok(|row| from_bson(row._id));
    rows.try_collect().await.map_err(store_error)
}

fn update<S>(shared: &Shared<S>, attempt: &Attempt, now: Timestamp) -> Update {
    let (mail, settings) = (&attempt.mail, &shared.settings);
    let done = |state: State, mut fields: Document| {
        fields.insert("state", state.name());
        fields.insert("finished_at", crate::copies::time(now));
        let change = doc! { "$set": fields, "$unset": { "claim": "", "claimed_at": "" } };
        (mail.pending_filter(), change)
    };
    // Calculated from the database's time of the claim, because only the database's clock decides what is due.
    let again = |wait: Duration, mut fields: Document| {
        let at = after(mail.claimed_at(), attempt.claimed.elapsed() + wait);
        fields.insert("next_attempt_at", bson::DateTime::from_millis(at));
        let change = doc! { "$set": fields, "$unset": { "claim": "", "claimed_at": "" } };
        (mail.claimed_filter(), change)
    };
    let (filter, change) = match &attempt.outcome {
        // Removes the reason of an earlier attempt.
        Outcome::Sent => done(State::Sent, doc! { "reason": null }),
        Outcome::Failed(reason) => done(State::Failed, doc! { "reason": reason }),
        Outcome::Dropped(reason) => done(State::Dropped, doc! { "reason": reason }),
        Outcome::Deferred(reason) => {
            let wait = backoff(settings.initial_retry_delay, mail.refusals, settings.max_retry_delay);
            let refusals = i64::from(mail.refusals) + 1;
            again(
                wait,
                doc! { "reason": reason, "refusals": refusals, "tried_since": mail.tried_since() },
            )
        }
        Outcome::Unreachable(reason) => again(
            Duration::ZERO,
            doc! { "reason": reason, "tried_since": mail.tried_since() },
        ),
        Outcome::Released(reason) => again(Duration::ZERO, doc! { "reason": reason }),
        Outcome::Missing(missing) => {
            let wait = backoff(settings.initial_recheck_delay, mail.waits, settings.max_recheck_delay);
            let waits = i64::from(mail.waits) + 1;
            again(
                wait,
                doc! { "missing": missing.name(), "waits": waits, "tried_since": mail.tried_since() },
            )
        }
    };
    Update {
        filter,
        change,
        upsert: false,
    }
}

/// Returns the delay after `attempts` attempts: `initial`, doubled for each attempt, up to `max`.
fn backoff(initial: Duration, attempts: u32, max: Duration) -> Duration {
    initial.saturating_mul(2_u32.saturating_pow(attempts)).min(max)
}

fn sent(mail: &Mail, now: Timestamp) -> NotificationSent {
    NotificationSent {
        notification_id: mail.id(),
        kind: mail.kind,
        cause_id: mail.cause_id(),
        sent_at: now,
        event_id: mail.event(),
    }
}

fn failed(mail: &Mail, reason: &str, now: Timestamp) -> NotificationFailed {
    NotificationFailed {
        notification_id: mail.id(),
        kind: mail.kind,
        cause_id: mail.cause_id(),
        reason: reason.to_owned(),
        failed_at: now,
        event_id: mail.event(),
    }
}

fn count<S>(shared: &Shared<S>, attempts: &[Attempt]) {
    for attempt in attempts {
        let (mail, id) = (&attempt.mail, attempt.mail.id());
        let outcome = match &attempt.outcome {
            Outcome::Sent => {
                let delay = mail.age() + attempt.claimed.elapsed();
                shared
                    .metrics
                    .delay
                    .with_label_values(&[mail.label()])
                    .observe(delay.as_secs_f64());
                tracing::debug!(mail = %id, kind = mail.label(), "e-mail {id} was sent");
                "sent"
            }
            Outcome::Failed(reason) => {
                tracing::warn!(mail = %id, kind = mail.label(), reason, "e-mail {id} failed");
                "failed"
            }
            Outcome::Dropped(reason) => {
                tracing::debug!(mail = %id, kind = mail.label(), reason, "e-mail {id} was dropped");
                "dropped"
            }
            Outcome::Deferred(reason) => {
                tracing::info!(mail = %id, kind = mail.label(), reason, "e-mail {id} was rejected temporarily; retrying");
                "later"
            }
            Outcome::Unreachable(_) | Outcome::Released(_) => "released",
            Outcome::Missing(missing) => {
                tracing::debug!(mail = %id, missing = missing.name(), "e-mail {id} waits for missing data");
                "waiting"
            }
        };
        shared.metrics.mails.with_label_values(&[mail.label(), outcome]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_with_each_attempt_up_to_a_limit() {
        let (initial, max) = (Duration::from_secs(1), Duration::from_secs(900));
        let delays: Vec<_> = [0, 1, 2, 3, 9, 10, 40]
            .map(|attempts| backoff(initial, attempts, max).as_secs())
            .to_vec();
        assert_eq!(delays, [1, 2, 4, 8, 512, 900, 900]);
    }
}
