use std::collections::HashMap;

use contracts::UserProfileState;
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;
use uuid::Uuid;

use super::{failed, sequence, wake};
use crate::operations::Wakes;
use crate::store::users::{ProfileRow, save_profiles};

/// Keeps the newest profile of every user.
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
        let mut rows: HashMap<Uuid, ProfileRow> = HashMap::new();
        for message in messages {
            let UserProfileState::UserProfile(profile) = &message.body;
            let row = ProfileRow {
                user_id: message.envelope.key,
                email: profile.email.clone(),
                username: profile.username.clone(),
                full_name: profile.full_name.clone(),
                date_of_birth: profile.date_of_birth.to_naive(),
                time_zone: profile.time_zone.clone(),
                version: sequence(message),
            };
            rows.insert(row.user_id, row);
        }
        let rows: Vec<ProfileRow> = rows.into_values().collect();
        save_profiles(unit.tx(), &rows).await.map_err(failed)?;
        wake(&self.wakes, messages);
        Ok(())
    }
}
