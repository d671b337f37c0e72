//! What operators ask this service beside what they ask every one.

use contracts::ops::OpsCommand;
use futures::TryStreamExt;
use messaging::{Failure, OpsHandler, OpsOutcome, Received, Unit};
use mongo::{Mongo, store_error, to_bson};
use mongodb::bson::doc;
use serde_json::json;

use crate::mail::{MAILS, Mail};

/// Mails in one answer, at most: a mailing may have caused a million.
const MOST: i64 = 100;

/// `WhereIs`: the mails that a message led to.
pub(crate) struct FindMails;

impl OpsHandler<Mongo> for FindMails {
    async fn handle(&self, unit: &mut Unit<Mongo>, command: &Received<OpsCommand>) -> Result<OpsOutcome, Failure> {
        let OpsCommand::WhereIs(asked) = &command.body else {
            return Ok(OpsOutcome::Unhandled);
        };
        let id = to_bson(asked.message_id);
        let tx = unit.tx();
        let found = tx
            .collection::<Mail>(MAILS)
            .find(doc! { "$or": [{ "cause.id": id }, { "cause.correlation_id": id }] })
            .limit(MOST)
            .session(tx.session())
            .await;
        let mut found = found.map_err(store_error)?;
        let mails: Vec<_> = found
            .stream(tx.session())
            .map_ok(|mail| {
                json!({
                    "notification_id": mail.id(),
                    "kind": mail.label(),
                    "user": mail.user(),
                    "state": mail.state.name(),
                    "reason": mail.reason,
                })
            })
            .try_collect()
            .await
            .map_err(store_error)?;
        Ok(OpsOutcome::Done(json!({ "mails": mails })))
    }
}
