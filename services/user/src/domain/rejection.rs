use contracts::FieldError;

use super::form;

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
    /// The address that was verified is not the profile's any more.
    EmailChanged,
    /// The account is closed.
    Deactivated,
    /// No such user, none that the actor may touch, or one who is forgotten.
    Unknown,
}

impl From<Rejection> for contracts::Rejection {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Invalid(errors) => Self::new("invalid", "Some fields are not valid.").with_errors(errors),
            Rejection::Taken { email, username } => {
                let mut errors = Vec::new();
                if email {
                    errors.push(form::error("email", "taken", "Somebody else has this e-mail."));
                }
                if username {
                    errors.push(form::error("username", "taken", "Somebody else has this username."));
                }
                let rejection = if email {
                    Self::new("email-taken", "Somebody else has this e-mail.")
                } else {
                    Self::new("username-taken", "Somebody else has this username.")
                };
                rejection.with_errors(errors)
            }
            Rejection::AlreadyExists => Self::new("already-exists", "This user exists already."),
            Rejection::EmailChanged => Self::new("email-changed", "The e-mail is another one by now."),
            Rejection::Deactivated => Self::new("user-deactivated", "This account is closed."),
            Rejection::Unknown => Self::new("user-unknown", "There is no such user."),
        }
    }
}
