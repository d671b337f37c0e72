use std::collections::HashMap;

use contracts::UserProfileState;
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;
use uuid::Uuid;

use super::{failed, forget, sequence, wake};
use crate::operations::Wakes;
use crate::store::users::{ProfileRow, save_profiles};

/// Keeps the newest profile of every user. A tombstone's person is forgotten.
pub struct Profiles {
    wakes: Wakes,
}

impl Profiles {
    pub fn new(wakes: Wakes) -> Self {
        Self { wakes }
    }
}

impl Handler<Postgres> for Profiles {
    type Message = UserProfileState;

    async fn handle(
        &mut self,
        unit: &mut Unit<Postgres>,
        messages: &[&Received<UserProfileState>],
    ) -> Result<(), Failure> {
        let mut newest: HashMap<Uuid, Option<ProfileRow>> = HashMap::new();
        for message in messages {
            let user_id = message.envelope.key;
            let row = match &message.body {
                UserProfileState::UserProfile(profile) => Some(ProfileRow {
                    user_id,
                    email: profile.email.clone(),
                    username: profile.username.clone(),
                    full_name: profile.full_name.clone(),
                    date_of_birth: profile.date_of_birth.to_naive(),
                    time_zone: profile.time_zone.clone(),
                    email_verified: profile.email_verified,
                    reminders: profile.reminders,
                    announcements: profile.announcements,
                    version: sequence(message),
                }),
                UserProfileState::Tombstone => None,
            };
            newest.insert(user_id, row);
        }
        let gone: Vec<Uuid> = newest
            .iter()
            .filter(|(_, row)| row.is_none())
            .map(|(id, _)| *id)
            .collect();
        let rows: Vec<ProfileRow> = newest.into_values().flatten().collect();
        save_profiles(unit.tx(), &rows).await.map_err(failed)?;
        if !gone.is_empty() {
            forget(unit, &gone).await?;
        }
        wake(&self.wakes, messages);
        Ok(())
    }
}
