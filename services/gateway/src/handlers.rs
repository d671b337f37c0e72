//! What the gateway does with the messages that it listens to: a batch is a few set-based statements.

mod events;
mod notifications;
mod processes;
mod profiles;
mod registrations;
mod replies;
mod users;

use messaging::{Failure, Received, Unit};
use postgres::{Postgres, store_error};
use uuid::Uuid;

use crate::operations::Wakes;
use crate::store::accounts;
use crate::store::users::delete_profiles;

pub use events::Events;
pub use notifications::Notifications;
pub use processes::Processes;
pub use profiles::Profiles;
pub use registrations::Registrations;
pub use replies::Replies;
pub use users::Users;

/// What a database error means for the pipeline.
pub(crate) fn failed(error: sqlx::Error) -> Failure {
    store_error(error).into()
}

/// Forgets persons: the profile and all that goes with it, also what lies aside. Whichever comes first, the domain event
/// or the profile's tombstone, does all of it.
async fn forget(unit: &mut Unit<Postgres>, users: &[Uuid]) -> Result<(), Failure> {
    delete_profiles(unit.tx(), users).await.map_err(failed)?;
    accounts::forget(unit.tx(), users).await.map_err(failed)?;
    Ok(unit.erase(users).await?)
}

/// Those who wait for an operation that one of these messages belongs to may look.
fn wake<M>(wakes: &Wakes, messages: &[&Received<M>]) {
    wakes.passed(messages.iter().map(|message| message.envelope.correlation_id));
}

/// The place of a domain event in its stream.
fn sequence<M>(message: &Received<M>) -> i64 {
    message.envelope.sequence.unwrap_or(0)
}
