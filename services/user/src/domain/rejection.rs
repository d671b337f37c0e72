use contracts::FieldError;

use super::form;

/// Reason why an account rejects a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// All invalid fields.
    Invalid(Vec<FieldError>),
    /// Another user has the e-mail address, the username, or both.
    Taken {
        email: bool,
        username: bool,
    },
    AlreadyExists,
    /// The verified address is no longer the address in the profile.
    EmailChanged,
    /// The account is closed.
    Deactivated,
    /// The user does not exist or is erased, or the actor is not allowed to act for the user.
    Unknown,
}

const EMAIL_TAKEN: &str = "Another user has this e-mail address. Use a different address.";
const USERNAME_TAKEN: &str = "Another user has this username. Choose a different username.";

impl From<Rejection> for contracts::Rejection {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Invalid(errors) => {
                Self::new("invalid", "Some fields are invalid. Correct the listed fields.").with_errors(errors)
            }
            Rejection::Taken { email, username } => {
                let mut errors = Vec::new();
                if email {
                    errors.push(form::error("email", "taken", EMAIL_TAKEN));
                }
                if username {
                    errors.push(form::error("username", "taken", USERNAME_TAKEN));
                }
                let rejection = if email {
                    Self::new("email-taken", EMAIL_TAKEN)
                } else {
                    Self::new("username-taken", USERNAME_TAKEN)
                };
                rejection.with_errors(errors)
            }
            Rejection::AlreadyExists => {
                Self::new("already-exists", "A user with this id already exists. Use a new id.")
            }
            Rejection::EmailChanged => Self::new(
                "email-changed",
                "The e-mail address of the account has changed since the link was sent. Request a new link.",
            ),
            Rejection::Deactivated => Self::new(
                "user-deactivated",
                "The account is closed and can no longer be changed. Sign up for a new account.",
            ),
            Rejection::Unknown => Self::new("user-unknown", "The user does not exist. Check the user id."),
        }
    }
}
