//! The collections of this service and their indexes.

use mongo::{Schema, index, partial_index};
use mongodb::bson::doc;

use crate::copies::{EVENTS, MEMBERS, PROFILES, REGISTRATIONS};
use crate::mail::MAILS;
use crate::mailing::MAILINGS;

/// Returns all collections of this service with their indexes.
pub fn schema() -> Schema {
    let mails = vec![
        // Finds due e-mails. Contains only pending e-mails, so it stays small no matter how many e-mails were ever
        // sent.
        partial_index(doc! { "lane": 1, "next_attempt_at": 1 }, doc! { "state": "pending" }),
        // Finds e-mails that wait for a profile or an event.
        partial_index(
            doc! { "missing": 1, "user": 1 },
            doc! { "missing": { "$exists": true } },
        ),
        partial_index(
            doc! { "missing": 1, "event": 1 },
            doc! { "missing": { "$exists": true } },
        ),
        // Finds the e-mails that a message caused.
        index(doc! { "cause.id": 1 }, false),
        index(doc! { "cause.correlation_id": 1 }, false),
        // Finds mails whose outcome is recorded, the oldest first.
        partial_index(doc! { "finished_at": 1 }, doc! { "finished_at": { "$exists": true } }),
        // Finds all pending mails to a user.
        partial_index(doc! { "user": 1 }, doc! { "state": "pending" }),
    ];
    let collections = vec![
        (MEMBERS, vec![]),
        (PROFILES, vec![]),
        (EVENTS, vec![]),
        (
            REGISTRATIONS,
            // In the order in which mailings process registrations.
            vec![index(doc! { "event": 1, "_id": 1 }, false)],
        ),
        (
            MAILINGS,
            vec![
                index(doc! { "event": 1, "cause.at": 1 }, false),
                // Finds the oldest.
                index(doc! { "cause.at": 1 }, false),
            ],
        ),
        (MAILS, mails),
    ];
    Schema {
        service: env!("CARGO_PKG_NAME"),
        collections,
    }
}
