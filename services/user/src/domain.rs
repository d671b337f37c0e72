//! The accounts of users. Pure: no I/O, clock or randomness.

mod accounts;
mod form;
pub mod profile;
mod rejection;

use contracts::{
    Actor, Aggregate, ChangeUser, Command, CreateUser, DeactivateUser, EmailVerified, UserChanged, UserCommand,
    UserCreated, UserDeactivated, UserErased, UserEvent, VerifyEmail, state,
};
use uuid::Uuid;

pub use accounts::{Accounts, DuplicateCommand, email_key};
pub use rejection::Rejection;

/// Reason in the `UserDeactivated` of an erased user.
const ERASED: &str = "erased";

state! {
    /// The account of one user. Personal data is not part of it: it is stored in the profile, beside the aggregate.
    #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
    pub enum User {
        #[default]
        Absent,
        Active,
        Deactivated,
        Erased,
    }
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
            UserCommand::ChangeUser(change) => self.change(accounts, command, change),
            UserCommand::VerifyEmail(verify) => self.verify(accounts, command, verify),
            UserCommand::DeactivateUser(deactivate) => self.deactivate(command, deactivate),
            UserCommand::EraseUser(_) => self.erase(command),
        }
    }

    fn evolve(&mut self, accounts: &mut Accounts, key: Uuid, event: &UserEvent) {
        match event {
            UserEvent::UserCreated(_) => {
                *self = Self::Active;
                accounts.created(key);
            }
            UserEvent::UserChanged(_) => accounts.changed(key),
            UserEvent::EmailVerified(_) => accounts.verified(key),
            UserEvent::UserDeactivated(_) => {
                *self = Self::Deactivated;
                accounts.deactivated(key);
            }
            UserEvent::UserErased(_) => {
                *self = Self::Erased;
                accounts.erased(key);
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
        let errors = form::errors(&profile::opened(create), command.time.date(), accounts);
        if !errors.is_empty() {
            return Err(Rejection::Invalid(errors));
        }
        let email = accounts.is_email_taken(&create.email, command.key);
        let username = accounts.is_username_taken(&create.username);
        if email || username {
            return Err(Rejection::Taken { email, username });
        }
        let created_at = command.time;
        Ok(vec![UserCreated { created_at }.into()])
    }

    /// Changes the profile.
    ///
    /// Only changed fields are validated, because the other fields were valid when they were set.
    fn change(
        self,
        accounts: &Accounts,
        command: &Command<UserCommand>,
        change: &ChangeUser,
    ) -> Result<Vec<UserEvent>, Rejection> {
        self.require_open(command, |actor| actor.may_act_for(command.key))?;
        let before = accounts.profile(command.key).ok_or(Rejection::Unknown)?;
        let after = profile::changed(before, change);
        let fields = profile::difference(before, &after);
        if fields.is_empty() {
            return Ok(Vec::new());
        }
        let mut errors = form::errors(&after, command.time.date(), accounts);
        errors.retain(|error| fields.contains(&&*error.field));
        if !errors.is_empty() {
            return Err(Rejection::Invalid(errors));
        }
        if accounts.is_email_taken(&after.email, command.key) {
            return Err(Rejection::Taken {
                email: true,
                username: false,
            });
        }
        let changed = UserChanged {
            fields: fields.into_iter().map(str::to_owned).collect(),
            changed_at: command.time,
        };
        Ok(vec![changed.into()])
    }

    /// Marks the e-mail address as verified. Only a service may do this, because only a service knows that the link in
    /// the e-mail was followed.
    fn verify(
        self,
        accounts: &Accounts,
        command: &Command<UserCommand>,
        verify: &VerifyEmail,
    ) -> Result<Vec<UserEvent>, Rejection> {
        self.require_open(command, |actor| matches!(actor, Actor::System(_)))?;
        let profile = accounts.profile(command.key).ok_or(Rejection::Unknown)?;
        if email_key(&profile.email) != email_key(&verify.email) {
            return Err(Rejection::EmailChanged);
        }
        if profile.email_verified {
            return Ok(Vec::new());
        }
        let verified_at = command.time;
        Ok(vec![EmailVerified { verified_at }.into()])
    }

    fn deactivate(
        self,
        command: &Command<UserCommand>,
        deactivate: &DeactivateUser,
    ) -> Result<Vec<UserEvent>, Rejection> {
        require_permitted(command, |actor| actor.may_act_for(command.key))?;
        match self {
            Self::Absent => Err(Rejection::Unknown),
            Self::Deactivated | Self::Erased => Ok(Vec::new()),
            Self::Active => {
                let errors = form::reason_errors(&deactivate.reason);
                if !errors.is_empty() {
                    return Err(Rejection::Invalid(errors));
                }
                Ok(vec![deactivated(command, &deactivate.reason)])
            }
        }
    }

    fn erase(self, command: &Command<UserCommand>) -> Result<Vec<UserEvent>, Rejection> {
        require_permitted(command, |actor| actor.may_act_for(command.key))?;
        let erased_at = command.time;
        let erased = UserEvent::from(UserErased { erased_at });
        match self {
            Self::Absent => Err(Rejection::Unknown),
            Self::Active => Ok(vec![deactivated(command, ERASED), erased]),
            Self::Deactivated => Ok(vec![erased]),
            Self::Erased => Ok(Vec::new()),
        }
    }

    /// Checks that the actor is permitted and that the account is open.
    fn require_open(self, command: &Command<UserCommand>, permitted: impl Fn(&Actor) -> bool) -> Result<(), Rejection> {
        require_permitted(command, permitted)?;
        match self {
            Self::Active => Ok(()),
            Self::Deactivated => Err(Rejection::Deactivated),
            Self::Absent | Self::Erased => Err(Rejection::Unknown),
        }
    }
}

/// Rejects an actor who is not permitted as if the user did not exist, so other users cannot find out whether the
/// account exists.
fn require_permitted(command: &Command<UserCommand>, permitted: impl Fn(&Actor) -> bool) -> Result<(), Rejection> {
    match &command.actor {
        Some(actor) if permitted(actor) => Ok(()),
        _ => Err(Rejection::Unknown),
    }
}

fn deactivated(command: &Command<UserCommand>, reason: &str) -> UserEvent {
    UserDeactivated {
        reason: reason.to_owned(),
        deactivated_at: command.time,
    }
    .into()
}
