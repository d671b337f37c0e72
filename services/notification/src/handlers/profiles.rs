use std::collections::BTreeMap;

use contracts::{UserProfile, UserProfileState};
use messaging::{Failure, Handler, Received, Unit};
use mongo::Mongo;
use mongodb::bson::{Document, doc};
use uuid::Uuid;

use crate::copies::{Changes, MEMBERS, PROFILES, delete_profiles, erased};
use crate::mail::queue::{self, Missing};
use crate::mail_queue::MailQueues;

/// Handles `users.profiles`: stores the addresses and preferences of users.
pub(crate) struct FollowProfiles(pub(crate) MailQueues);

impl Handler<Mongo> for FollowProfiles {
    type Message = UserProfileState;

    async fn handle(
        &mut self,
        unit: &mut Unit<Mongo>,
        messages: &[&Received<UserProfileState>],
    ) -> Result<(), Failure> {
        let newest: BTreeMap<Uuid, _> = messages
            .iter()
            .map(|message| {
                (
                    message.envelope.key,
                    (message.envelope.sequence, profile(&message.body)),
                )
            })
            .collect();
        let mut profiles = Changes::default();
        let mut members = Changes::default();
        let mut deleted = Vec::new();
        let users: Vec<_> = newest.keys().copied().collect();
        // A profile that arrives after its user was erased is not stored, because its tombstone may have been removed from
        // the topic.
        let erased = erased(unit.tx(), &users).await?;
        for (user, (version, profile)) in newest {
            match profile {
                Some(profile) if !erased.contains(&user) => {
                    profiles.set(user, fields(profile));
                    profiles.set(user, doc! { "version": version });
                }
                Some(_) => {}
                None => {
                    members.set(user, doc! { "active": false, "erased": true });
                    deleted.push(user);
                }
            }
        }
        let updated = profiles.ids();
        profiles.write(unit.tx(), PROFILES).await?;
        queue::release_waiting(unit, &self.0, Missing::Profile, &updated).await?;

        members.write(unit.tx(), MEMBERS).await?;
        delete_profiles(unit.tx(), &deleted).await?;
        unit.erase(&deleted).await?;
        queue::retry_now(unit, &self.0, &deleted).await?;
        Ok(())
    }
}

fn profile(state: &UserProfileState) -> Option<&UserProfile> {
    match state {
        UserProfileState::UserProfile(profile) => Some(profile),
        UserProfileState::Tombstone => None,
    }
}

fn fields(profile: &UserProfile) -> Document {
    doc! {
        "email": &profile.email,
        "full_name": &profile.full_name,
        "time_zone": &profile.time_zone,
        "email_verified": profile.email_verified,
        "reminders": profile.reminders,
        "announcements": profile.announcements,
    }
}
