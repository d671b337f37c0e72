use contracts::{NotificationKind, UserCreated, UserDeactivated, UserErased, UserEvent};
use messaging::{Failure, Handler, Received, Unit};
use mongo::Mongo;
use mongodb::bson::doc;

use crate::cause::StoredCause;
use crate::copies::{Changes, MEMBERS, delete_profiles, time};
use crate::mail::{Mail, queue};
use crate::mail_queue::MailQueues;

/// Handles `users`: stores the status of accounts, and enqueues a welcome e-mail for a new one.
pub(crate) struct FollowUsers(pub(crate) MailQueues);

impl Handler<Mongo> for FollowUsers {
    type Message = UserEvent;

    async fn handle(&mut self, unit: &mut Unit<Mongo>, messages: &[&Received<UserEvent>]) -> Result<(), Failure> {
        let mut members = Changes::default();
        let mut mails = Vec::new();
        let mut erased = Vec::new();
        for message in messages {
            let user = message.envelope.key;
            match &message.body {
                UserEvent::UserCreated(UserCreated { created_at }) => {
                    members.set(user, doc! { "active": true, "created_at": time(*created_at) });
                    mails.push(Mail::new(StoredCause::of(message), NotificationKind::Welcome, user));
                }
                UserEvent::UserDeactivated(UserDeactivated { deactivated_at, .. }) => {
                    members.set(user, doc! { "active": false, "deactivated_at": time(*deactivated_at) });
                }
                UserEvent::UserErased(UserErased { erased_at }) => {
                    members.set(
                        user,
                        doc! { "active": false, "erased": true, "erased_at": time(*erased_at) },
                    );
                    erased.push(user);
                }
                // The relevant data is in the profile.
                UserEvent::UserChanged(_) | UserEvent::EmailVerified(_) => {}
            }
        }
        members.write(unit.tx(), MEMBERS).await?;
        // The profile's tombstone also erases the user, but it is removed from its topic after a day. This event stays.
        delete_profiles(unit.tx(), &erased).await?;
        unit.erase(&erased).await?;
        queue::retry_now(unit, &self.0, &erased).await?;
        queue::enqueue(unit, &self.0, &mails).await?;
        Ok(())
    }
}
