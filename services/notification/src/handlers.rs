//! The message handlers. They store copies of other services' data and enqueue e-mails.

mod commands;
mod events;
mod profiles;
mod registrations;
mod users;

pub(crate) use commands::FollowCommands;
pub(crate) use events::FollowEvents;
pub(crate) use profiles::FollowProfiles;
pub(crate) use registrations::FollowRegistrations;
pub(crate) use users::FollowUsers;
