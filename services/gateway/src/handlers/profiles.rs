use contracts::UserProfileState;
use messaging::{Failure, Handler, Received, Unit};
use postgres::Postgres;

use super::{erase, failed, newest, notify_waiters, sequence};
use crate::operations::OperationNotifier;
use crate::store::users::{ProfileRow, save_profiles};

/// Stores the newest profile of every user. A tombstone erases the user's personal data.
pub struct Profiles(pub(crate) OperationNotifier);

impl Handler<Postgres> for Profiles {
    type Message = UserProfileState;

    async fn handle(
        &mut self,
        unit: &mut Unit<Postgres>,
        messages: &[&Received<UserProfileState>],
    ) -> Result<(), Failure> {
        let (rows, erased) = newest(messages, row);
        let rows: Vec<ProfileRow> = rows.into_values().collect();
        save_profiles(unit.tx(), &rows).await.map_err(failed)?;
        if !erased.is_empty() {
            erase(unit, &erased).await?;
        }
        notify_waiters(&self.0, unit, messages);
        Ok(())
    }
}

/// Returns the row of a profile, or `None` for a tombstone.
fn row(message: &Received<UserProfileState>) -> Option<ProfileRow> {
    let UserProfileState::UserProfile(profile) = &message.body else {
        return None;
    };
    Some(ProfileRow {
        user_id: message.envelope.key,
        email: profile.email.clone(),
        username: profile.username.clone(),
        full_name: profile.full_name.clone(),
        date_of_birth: profile.date_of_birth.to_naive(),
        time_zone: profile.time_zone.clone(),
        email_verified: profile.email_verified,
        reminders: profile.reminders,
        announcements: profile.announcements,
        version: sequence(message),
    })
}
