use contracts::{NotificationKind, UserCreated, UserDeactivated, UserErased, UserEvent};
use messaging::{Failure, Handler, Received, Unit};
use mongo::Mongo;
use mongodb::bson::doc;

use crate::cause::StoredCause;
use crate::copies::{Changes, MEMBERS, delete_profiles, time};
use crate::lane::Lanes;
use crate::mail::{Mail, queue};

/// `users`: whose account is open; a new one is welcomed.
pub(crate) struct FollowUsers(pub(crate) Lanes);

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
                    mails.push(Mail::because_of(
                        StoredCause::of(message),
                        NotificationKind::Welcome,
                        user,
                    ));
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
                // What of it matters here is in the profile.
                UserEvent::UserChanged(_) | UserEvent::EmailVerified(_) => {}
            }
        }
        members.write(unit.tx(), MEMBERS).await?;
        // The profile's tombstone says so too, but is gone from its topic a day later: this one stays.
        delete_profiles(unit.tx(), &erased).await?;
        unit.erase(&erased).await?;
        queue::hasten(unit, &self.0, &erased).await?;
        queue::put(unit, &self.0, &mails).await?;
        Ok(())
    }
}
