//! The ops commands that only this service handles, in addition to those that every service handles.

use contracts::ops::OpsCommand;
use futures::TryStreamExt;
use messaging::{Failure, OpsHandler, OpsOutcome, Received, Unit};
use mongo::{Mongo, store_error, to_bson};
use mongodb::bson::doc;
use serde_json::json;

use crate::mail::{MAILS, Mail};

/// Maximum number of e-mails in one reply, because a mailing may have caused a million.
const MAX_MAILS: i64 = 100;

/// Handles `WhereIs`: finds the e-mails that a message caused.
pub(crate) struct FindMails;

impl OpsHandler<Mongo> for FindMails {
    async fn handle(&self, unit: &mut Unit<Mongo>, command: &Received<OpsCommand>) -> Result<OpsOutcome, Failure> {
        let OpsCommand::WhereIs(query) = &command.body else {
            return Ok(OpsOutcome::Unhandled);
        };
        let id = to_bson(query.message_id);
        let tx = unit.tx();
        let found = tx
            .collection::<Mail>(MAILS)
            .find(doc! { "$or": [{ "cause.id": id }, { "cause.correlation_id": id }] })
            .limit(MAX_MAILS)
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
