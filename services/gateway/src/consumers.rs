//! What the gateway does with the messages that it listens to: a batch is a few set-based statements.

mod events;
mod notifications;
mod processes;
mod profiles;
mod registrations;
mod replies;
mod users;

use messaging::{Failure, Received};
use postgres::store_error;

use crate::operations::Wakes;

pub use events::Events;
pub use notifications::Notifications;
pub use processes::Processes;
pub use profiles::Profiles;
pub use registrations::Registrations;
pub use replies::Replies;
pub use users::Users;

/// What a database error means for the pipeline.
fn failed(error: sqlx::Error) -> Failure {
    store_error(error).into()
}

/// Those who wait for an operation that one of these messages belongs to may look.
fn wake<M>(wakes: &Wakes, messages: &[&Received<M>]) {
    wakes.passed(messages.iter().map(|message| message.envelope.correlation_id));
}

/// The place of a domain event in its stream.
fn sequence<M>(message: &Received<M>) -> i64 {
    message.envelope.sequence.unwrap_or(0)
}
