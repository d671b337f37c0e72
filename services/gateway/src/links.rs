//! Links sent by e-mail, which verify an e-mail address or set a new password.

use std::time::Duration;

use contracts::links::{Link, Purpose};
use contracts::{NotificationCommand, SendPasswordResetMail, SendVerificationMail, Timestamp};
use messaging::Outgoing;
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Creates a link. The link is valid once its nonce is stored.
pub fn link(purpose: Purpose, user_id: Uuid) -> Link {
    let lifetime = match purpose {
        Purpose::VerifyEmail => DAY,
        Purpose::ResetPassword => HOUR,
    };
    Link {
        user_id,
        // Random, because a UUIDv7 contains a timestamp and is easier to guess.
        nonce: Uuid::from_bytes(rand::random()),
        expires_at: Timestamp::now() + lifetime,
    }
}

/// Returns the command that sends the link to the address that the user has when the command is processed.
pub fn mail(purpose: Purpose, link: &Link) -> Outgoing<NotificationCommand> {
    let Link {
        user_id,
        nonce,
        expires_at,
    } = *link;
    match purpose {
        Purpose::VerifyEmail => Outgoing::new(
            user_id,
            SendVerificationMail {
                user_id,
                nonce,
                expires_at,
            },
        ),
        Purpose::ResetPassword => Outgoing::new(
            user_id,
            SendPasswordResetMail {
                user_id,
                nonce,
                expires_at,
            },
        ),
    }
}
