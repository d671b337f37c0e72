//! The handlers of the messages that the gateway consumes. Each writes a batch with a few set-based statements.

mod events;
mod notifications;
mod processes;
mod profiles;
mod registrations;
mod replies;
mod users;

use std::collections::HashMap;

use messaging::{Failure, Received, Unit};
use postgres::{Postgres, store_error};
use uuid::Uuid;

use crate::operations::OperationNotifier;
use crate::store::accounts;
use crate::store::users::delete_profiles;

pub use events::Events;
pub use notifications::Notifications;
pub use processes::Processes;
pub use profiles::Profiles;
pub use registrations::Registrations;
pub use replies::Replies;
pub use users::Users;

/// Maps a database error to a failure of the pipeline.
pub(crate) fn failed(error: sqlx::Error) -> Failure {
    store_error(error).into()
}

/// Erases the personal data of users: the profile, everything else that is stored about them, and parked and
/// dead-lettered messages.
///
/// The domain event and the profile's tombstone both erase everything, because either may arrive first.
async fn erase(unit: &mut Unit<Postgres>, users: &[Uuid]) -> Result<(), Failure> {
    delete_profiles(unit.tx(), users).await.map_err(failed)?;
    accounts::erase(unit.tx(), users).await.map_err(failed)?;
    Ok(unit.erase(users).await?)
}

/// Notifies the requests that wait for the operations that these messages belong to, after the unit commits.
fn notify_waiters<M>(notifier: &OperationNotifier, unit: &mut Unit<Postgres>, messages: &[&Received<M>]) {
    notifier.notify_after_commit(unit, messages.iter().map(|message| message.envelope.correlation_id));
}

/// Returns the newest state of each key, and the keys whose newest message is a tombstone.
///
/// `state` returns `None` for a tombstone.
fn newest<'a, M, T>(
    messages: &[&'a Received<M>],
    state: impl Fn(&'a Received<M>) -> Option<T>,
) -> (HashMap<Uuid, T>, Vec<Uuid>) {
    let mut states = HashMap::new();
    let mut deleted = Vec::new();
    let newest: HashMap<Uuid, &'a Received<M>> = messages
        .iter()
        .map(|message| (message.envelope.key, *message))
        .collect();
    for (key, message) in newest {
        match state(message) {
            Some(state) => {
                states.insert(key, state);
            }
            None => deleted.push(key),
        }
    }
    (states, deleted)
}

/// Returns the sequence number of a domain event or of a state message.
fn sequence<M>(message: &Received<M>) -> i64 {
    message.envelope.sequence.unwrap_or(0)
}
