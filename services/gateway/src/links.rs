//! Links that are mailed: to show that an address is somebody's, and to set a new password.

use std::time::Duration;

use contracts::links::{Link, Purpose};
use contracts::{NotificationCommand, SendPasswordResetMail, SendVerificationMail, Timestamp};
use messaging::Outgoing;
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A new link. It is good once its nonce is stored.
pub fn link(purpose: Purpose, user_id: Uuid) -> Link {
    let good_for = match purpose {
        Purpose::VerifyEmail => DAY,
        Purpose::ResetPassword => HOUR,
    };
    Link {
        user_id,
        // Unguessable: a UUIDv7 tells its time.
        nonce: Uuid::from_bytes(rand::random()),
        expires_at: Timestamp::now() + good_for,
    }
}

/// Has it mailed to the address that the user has then.
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
