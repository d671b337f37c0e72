use std::collections::BTreeMap;

use contracts::{UserProfile, UserProfileState};
use messaging::{Failure, Handler, Received, Unit};
use mongo::Mongo;
use mongodb::bson::{Document, doc};
use uuid::Uuid;

use crate::copies::{Changes, MEMBERS, PROFILES, delete_profiles, erased};
use crate::lane::Lanes;
use crate::mail::queue::{self, Missing};

/// `users.profiles`: where and how to write to a user.
pub(crate) struct FollowProfiles(pub(crate) Lanes);

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
        let mut gone = Vec::new();
        let here: Vec<_> = newest.keys().copied().collect();
        // An erased person's profile, met late, is not kept: its tombstone may be gone from the topic.
        let erased = erased(unit.tx(), &here).await?;
        for (user, (version, profile)) in newest {
            match profile {
                Some(profile) if !erased.contains(&user) => {
                    profiles.set(user, fields(profile));
                    profiles.set(user, doc! { "version": version });
                }
                Some(_) => {}
                None => {
                    members.set(user, doc! { "active": false, "erased": true });
                    gone.push(user);
                }
            }
        }
        let here = profiles.ids();
        profiles.write(unit.tx(), PROFILES).await?;
        queue::arrived(unit, &self.0, Missing::Profile, &here).await?;

        members.write(unit.tx(), MEMBERS).await?;
        delete_profiles(unit.tx(), &gone).await?;
        unit.erase(&gone).await?;
        queue::hasten(unit, &self.0, &gone).await?;
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
