//! The kinds of operations, in one table: the name of each, and what a client receives when it succeeds.

use serde::{Deserialize, Serialize};

use crate::text::text_enum;

/// A resource that an operation creates or changes. `api/respond.rs` maps each to its path and its read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    User,
    Event,
    /// The staff of an event.
    Staff,
    Registration,
    /// A registration as the staff of the event see it.
    CheckedInRegistration,
}

/// The response to an operation that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Success {
    /// `201` with the new resource and its location.
    Created(Resource),
    /// `200` with the changed resource.
    Changed(Resource),
    /// `202` with the operation, because the resource does not show the effect.
    Accepted(Resource),
    /// `202` with the operation, which shows the result that the service reported to the operator.
    OpsResult,
    /// `200` with the operation, because there is no resource to show.
    Done,
    /// `200` with the result of a query. A query changes nothing: it is not listed among the user's operations, and is
    /// deleted after an hour.
    QueryResult,
}

macro_rules! kinds {
    ($($(#[$attribute:meta])* $kind:ident => $name:literal, $success:expr;)+) => {
        text_enum! {
            /// The action that a client requested.
            pub enum Kind {
                $($(#[$attribute])* $kind => $name),+
            }
        }

        impl Kind {
            /// Returns the response to an operation of this kind that succeeded.
            pub const fn success(self) -> Success {
                match self {
                    $(Self::$kind => $success),+
                }
            }
        }
    };
}

kinds! {
    CreateUser => "create-user", Success::Created(Resource::User);
    ChangeUser => "change-user", Success::Changed(Resource::User);
    /// A change of the profile that includes the e-mail address, so the new address must be verified.
    ChangeEmail => "change-email", Success::Changed(Resource::User);
    DeactivateUser => "deactivate-user", Success::Changed(Resource::User);
    EraseUser => "erase-user", Success::Done;
    SetRoles => "set-roles", Success::Done;
    /// The first admin, created from the configuration.
    BootstrapAdmin => "bootstrap-admin", Success::Changed(Resource::User);
    /// A further admin, created by an operator.
    CreateAdmin => "create-admin", Success::Changed(Resource::User);
    CreateEvent => "create-event", Success::Created(Resource::Event);
    ChangeEvent => "change-event", Success::Changed(Resource::Event);
    PublishEvent => "publish-event", Success::Changed(Resource::Event);
    RescheduleEvent => "reschedule-event", Success::Changed(Resource::Event);
    NameStaff => "name-staff", Success::Changed(Resource::Staff);
    Announce => "announce", Success::Accepted(Resource::Event);
    CancelEvent => "cancel-event", Success::Changed(Resource::Event);
    Register => "register", Success::Created(Resource::Registration);
    CancelRegistration => "cancel-registration", Success::Changed(Resource::Registration);
    CheckIn => "check-in", Success::Changed(Resource::CheckedInRegistration);
    ReleaseKey => "release-key", Success::OpsResult;
    RedriveDeadLetter => "redrive-dead-letter", Success::OpsResult;
    DiscardDeadLetter => "discard-dead-letter", Success::OpsResult;
    FindParked => "find-parked", Success::QueryResult;
    FindDeadLetters => "find-dead-letters", Success::QueryResult;
    WhereIs => "where-is", Success::QueryResult;
    FindAuditEntries => "find-audit-entries", Success::QueryResult;
    ProveAuditEntry => "prove-audit-entry", Success::QueryResult;
    FindCheckpoints => "find-checkpoints", Success::QueryResult;
    FindCertificates => "find-certificates", Success::QueryResult;
    VerifyAuditLog => "verify-audit-log", Success::QueryResult;
}

impl Kind {
    /// Returns the names of all queries.
    pub(in crate::store) fn queries() -> Vec<&'static str> {
        let queries = Self::ALL
            .into_iter()
            .filter(|kind| matches!(kind.success(), Success::QueryResult));
        queries.map(Self::as_str).collect()
    }
}
