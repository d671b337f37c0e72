//! Who has an account. Pure.

mod accounts;
mod form;

use contracts::{
    Actor, Aggregate, Command, CreateUser, DeactivateUser, FieldError, Refusal, Rejected, UserCommand, UserCreated,
    UserDeactivated, UserEvent, state,
};
use uuid::Uuid;

pub use accounts::{Accounts, ClaimedTwice, email_key};

state! {
    /// One person's account. What it says about the person is in the profile, beside the aggregate.
    #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
    pub enum User {
        #[default]
        Absent,
        Active,
        Deactivated,
    }
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// Every field that is at fault.
    Invalid(Vec<FieldError>),
    /// Somebody else has the e-mail, the username, or both.
    Taken {
        email: bool,
        username: bool,
    },
    AlreadyExists,
    /// No such user, or none that the actor may touch.
    Unknown,
}

impl Aggregate for User {
    const NAME: &'static str = "user.user";
    type Command = UserCommand;
    type DomainEvent = UserEvent;
    type Context = Accounts;
    type Rejection = Rejection;

    fn decide(&self, accounts: &Accounts, command: &Command<UserCommand>) -> Result<Vec<UserEvent>, Rejection> {
        match &command.body {
            UserCommand::CreateUser(create) => self.create(accounts, command, create),
            UserCommand::DeactivateUser(deactivate) => self.deactivate(command, deactivate),
        }
    }

    fn evolve(&mut self, accounts: &mut Accounts, key: Uuid, event: &UserEvent) {
        match event {
            UserEvent::UserCreated(_) => {
                *self = Self::Active;
                accounts.claim_granted(key);
            }
            UserEvent::UserDeactivated(_) => {
                *self = Self::Deactivated;
                accounts.release_email(key);
            }
        }
    }
}

impl User {
    fn create(
        self,
        accounts: &Accounts,
        command: &Command<UserCommand>,
        create: &CreateUser,
    ) -> Result<Vec<UserEvent>, Rejection> {
        if self != Self::Absent {
            return Err(Rejection::AlreadyExists);
        }
        let errors = form::errors(create, command.time.date(), accounts);
        if !errors.is_empty() {
            return Err(Rejection::Invalid(errors));
        }
        let (email, username) = (
            accounts.has_email(&create.email),
            accounts.has_username(&create.username),
        );
        if email || username {
            return Err(Rejection::Taken { email, username });
        }
        Ok(vec![
            UserCreated {
                created_at: command.time,
            }
            .into(),
        ])
    }

    fn deactivate(
        self,
        command: &Command<UserCommand>,
        deactivate: &DeactivateUser,
    ) -> Result<Vec<UserEvent>, Rejection> {
        let permitted = match &command.actor {
            Some(Actor::User(id)) => *id == command.key,
            Some(Actor::System(_)) => true,
            None => false,
        };
        if !permitted {
            return Err(Rejection::Unknown);
        }
        match self {
            Self::Absent => Err(Rejection::Unknown),
            Self::Deactivated => Ok(Vec::new()),
            Self::Active => {
                let errors = form::reason_errors(&deactivate.reason);
                if !errors.is_empty() {
                    return Err(Rejection::Invalid(errors));
                }
                let reason = deactivate.reason.clone();
                Ok(vec![
                    UserDeactivated {
                        reason,
                        deactivated_at: command.time,
                    }
                    .into(),
                ])
            }
        }
    }
}

impl From<Rejection> for Rejected {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Invalid(errors) => Self {
                errors,
                ..Self::new("invalid", "Some fields are not valid.")
            },
            Rejection::Taken { email, username } => {
                let mut errors = Vec::new();
                if email {
                    errors.push(form::error("email", "taken", "Somebody else has this e-mail."));
                }
                if username {
                    errors.push(form::error("username", "taken", "Somebody else has this username."));
                }
                let rejected = if email {
                    Self::new("email-taken", "Somebody else has this e-mail.")
                } else {
                    Self::new("username-taken", "Somebody else has this username.")
                };
                Self { errors, ..rejected }
            }
            Rejection::AlreadyExists => Self::new("already-exists", "This user exists already."),
            Rejection::Unknown => Self::new("user-unknown", "There is no such user."),
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Rejected::from(rejection).into()
    }
}
