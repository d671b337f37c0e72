use mongodb::bson;
use serde::Deserialize;
use uuid::Uuid;

/// A user's registration for an event.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Registration {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    user: bson::Uuid,
    pub(crate) state: RegistrationState,
    /// Times since which the registration has been active, and has had a seat, by the times of the messages.
    pub(crate) placed_at: Option<bson::DateTime>,
    pub(crate) seated_at: Option<bson::DateTime>,
    pub(crate) checked_in_at: Option<bson::DateTime>,
}

/// The state of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RegistrationState {
    Confirmed,
    Waiting,
    Cancelled,
}

impl RegistrationState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Waiting => "waiting",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Registration {
    pub(crate) fn id(&self) -> Uuid {
        mongo::from_bson(self.id)
    }

    pub(crate) fn user(&self) -> Uuid {
        mongo::from_bson(self.user)
    }
}
