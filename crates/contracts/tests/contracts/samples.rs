//! One sample of every record. All fields are set and differ from each other, so swapped fields are detected.

use contracts::*;
use uuid::{Uuid, uuid};

/// An operation on the sample of every record.
pub(crate) trait Visitor {
    fn visit<R: Record>(&mut self, sample: R);
}

const EVENT: Uuid = uuid!("01957a3c-0000-7000-8000-00000000000e");
const ORGANIZER: Uuid = uuid!("01957a3c-0000-7000-8000-000000000001");
const ATTENDEE: Uuid = uuid!("01957a3c-0000-7000-8000-000000000002");
const REGISTRATION: Uuid = uuid!("01957a3c-0000-7000-8000-000000000003");
const COMMAND: Uuid = uuid!("01957a3c-0000-7000-8000-000000000004");
const MESSAGE: Uuid = uuid!("01957a3c-0000-7000-8000-000000000005");
const NOTIFICATION: Uuid = uuid!("01957a3c-0000-7000-8000-000000000006");
const PROCESS: Uuid = uuid!("01957a3c-0000-7000-8000-000000000007");

pub(crate) fn visit_all(visitor: &mut impl Visitor) {
    visitor.visit(create_user());
    visitor.visit(DeactivateUser {
        reason: "left the club".into(),
    });
    visitor.visit(ChangeUser {
        email: Some("ada@example.net".into()),
        full_name: Some("Ada King".into()),
        date_of_birth: Some(Date::from_ymd(1815, 12, 11).expect("a date")),
        time_zone: Some("Europe/Rome".into()),
        reminders: Some(false),
        announcements: Some(true),
    });
    visitor.visit(VerifyEmail {
        email: "ada@example.org".into(),
    });
    visitor.visit(EraseUser {});
    visitor.visit(UserChanged {
        fields: vec!["email".into(), "time_zone".into()],
        changed_at: time("2026-03-02T18:00:00Z"),
    });
    visitor.visit(EmailVerified {
        verified_at: time("2026-03-03T18:00:00Z"),
    });
    visitor.visit(UserErased {
        erased_at: time("2026-04-02T18:00:00Z"),
    });
    visitor.visit(UserCreated {
        created_at: time("2026-03-01T18:00:00Z"),
    });
    visitor.visit(UserDeactivated {
        reason: "left the club".into(),
        deactivated_at: time("2026-04-01T18:00:00Z"),
    });
    visitor.visit(UserProfile {
        email: "ada@example.org".into(),
        username: "ada".into(),
        full_name: "Ada Lovelace".into(),
        date_of_birth: Date::from_ymd(1815, 12, 10).expect("a date"),
        time_zone: "Europe/London".into(),
        email_verified: true,
        reminders: false,
        announcements: true,
    });

    visitor.visit(CreateEvent {
        title: "Notes on the Engine".into(),
        description: "A reading, with tea.".into(),
        venue: "St James's Square 12".into(),
        starts_at: time("2026-06-01T18:00:00Z"),
        ends_at: time("2026-06-01T20:30:00Z"),
        time_zone: "Europe/London".into(),
        capacity: 200,
        registration_closes_at: time("2026-05-31T22:00:00Z"),
        waiting_list: true,
        registration_opens_at: Some(time("2026-03-01T08:00:00Z")),
    });
    visitor.visit(ChangeEvent {
        title: Some("Notes on the Engine, again".into()),
        description: Some("A reading, with *tea*.".into()),
        venue: Some("St James's Square 10".into()),
        starts_at: Some(time("2026-06-02T18:00:00Z")),
        ends_at: Some(time("2026-06-02T20:30:00Z")),
        time_zone: Some("Europe/Paris".into()),
        capacity: Some(250),
        registration_opens_at: Some(time("2026-03-01T08:00:00Z")),
        registration_closes_at: Some(time("2026-05-31T22:00:00Z")),
        waiting_list: Some(false),
    });
    visitor.visit(RescheduleEvent {
        starts_at: time("2026-06-03T18:00:00Z"),
        ends_at: time("2026-06-03T20:30:00Z"),
        time_zone: Some("Europe/Paris".into()),
        registration_opens_at: Some(time("2026-03-01T08:00:00Z")),
        registration_closes_at: Some(time("2026-06-01T22:00:00Z")),
    });
    visitor.visit(NameStaff {
        staff: vec![ATTENDEE, ORGANIZER],
    });
    visitor.visit(Announce {
        announcement_id: NOTIFICATION,
        subject: "Another door".into(),
        body: "Please come in by the *garden*.".into(),
    });
    visitor.visit(EventChanged {
        details: details(),
        published: true,
    });
    visitor.visit(EventRescheduled {
        details: details(),
        previous_starts_at: time("2026-05-01T18:00:00Z"),
        previous_ends_at: time("2026-05-01T20:30:00Z"),
    });
    visitor.visit(StaffNamed {
        details: details(),
        published: true,
    });
    visitor.visit(AnnouncementMade {
        announcement_id: NOTIFICATION,
        organizer_id: ORGANIZER,
        subject: "Another door".into(),
        body: "Please come in by the *garden*.".into(),
    });
    visitor.visit(PublishEvent {});
    visitor.visit(CancelEvent {
        reason: "the hall is flooded".into(),
    });
    visitor.visit(EndEvent {});
    visitor.visit(EventCreated {
        details: Details {
            staff: Vec::new(),
            ..details()
        },
    });
    visitor.visit(EventPublished { details: details() });
    visitor.visit(EventCancelled {
        reason: "the hall is flooded".into(),
        cancelled_at: time("2026-05-30T07:00:00.000001Z"),
    });
    visitor.visit(EventEnded {
        ended_at: time("2026-06-01T20:30:00Z"),
    });

    visitor.visit(follow_event());
    visitor.visit(Register {
        registration_id: REGISTRATION,
        user_id: ATTENDEE,
    });
    visitor.visit(CancelRegistration {
        registration_id: REGISTRATION,
        reason: CancelReason::ByOrganizer,
    });
    visitor.visit(CheckIn {
        registration_id: REGISTRATION,
    });
    visitor.visit(AttendeeCheckedIn {
        registration_id: REGISTRATION,
        user_id: ATTENDEE,
        checked_in_at: time("2026-06-01T17:45:00Z"),
    });
    visitor.visit(ContinueClosing {});
    visitor.visit(RosterOpened {
        event_sequence: 2,
        terms: terms(),
    });
    visitor.visit(RosterChanged {
        event_sequence: 3,
        terms: Terms {
            capacity: 250,
            waiting_list: false,
            ..terms()
        },
    });
    visitor.visit(RosterClosed {
        event_sequence: 4,
        reason: RosterCloseReason::Ended,
    });
    visitor.visit(SeatConfirmed {
        registration_id: REGISTRATION,
        user_id: ATTENDEE,
    });
    visitor.visit(SeatWaitlisted {
        registration_id: REGISTRATION,
        user_id: ATTENDEE,
    });
    visitor.visit(SeatPromoted {
        registration_id: REGISTRATION,
        user_id: ATTENDEE,
    });
    visitor.visit(RegistrationCancelled {
        registration_id: REGISTRATION,
        user_id: ATTENDEE,
        reason: CancelReason::UserDeactivated,
        had_seat: true,
    });

    visitor.visit(NotificationSent {
        notification_id: NOTIFICATION,
        kind: NotificationKind::SeatPromoted,
        cause_id: MESSAGE,
        sent_at: time("2026-05-02T09:15:00Z"),
        event_id: Some(EVENT),
    });
    visitor.visit(NotificationFailed {
        notification_id: NOTIFICATION,
        kind: NotificationKind::EventCancelled,
        cause_id: MESSAGE,
        reason: "550 mailbox unavailable".into(),
        failed_at: time("2026-05-02T09:20:00Z"),
        event_id: Some(EVENT),
    });
    visitor.visit(SendReminder {
        registration_id: REGISTRATION,
        user_id: ATTENDEE,
        event_id: EVENT,
        starts_at: time("2026-06-01T18:00:00Z"),
    });
    visitor.visit(SendVerificationMail {
        user_id: ATTENDEE,
        nonce: MESSAGE,
        expires_at: time("2026-05-03T09:15:00Z"),
    });
    visitor.visit(SendPasswordResetMail {
        user_id: ATTENDEE,
        nonce: MESSAGE,
        expires_at: time("2026-05-02T10:15:00Z"),
    });
    visitor.visit(ContinueMailing {
        cause_id: MESSAGE,
        event_id: EVENT,
        after: Some(REGISTRATION),
    });
    visitor.visit(CheckpointSigned {
        checkpoint_id: MESSAGE,
        signed_at: time("2026-05-02T10:15:00Z"),
        heads: vec![CheckpointHead {
            topic: "events".into(),
            partition: 11,
            size: 4_000_000_000,
            root: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d".into(),
        }],
        previous: Some(COMMAND),
        key_id: "2026".into(),
        signature: "c2lnbmVk".into(),
        number: 7,
        previous_hash: Some("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d".into()),
    });
    visitor.visit(DeliveryCertified {
        certificate_id: MESSAGE,
        from: time("2026-05-02T09:00:00Z"),
        until: time("2026-05-02T10:00:00Z"),
        complete: false,
        topics: vec![CertifiedTopic {
            topic: "events".into(),
            producer: "/rollcall/event".into(),
            messages: 1_200,
            keys: 40,
            missing: 2,
            examples: vec![format!("{EVENT}: 3-4")],
        }],
    });
    visitor.visit(ProveAuditEntry {
        entry_id: "events-3-1200".into(),
        checkpoint_id: Some(MESSAGE),
    });
    visitor.visit(FindCheckpoints {
        cursor: Some("41".into()),
        limit: 100,
    });
    visitor.visit(FindCertificates {
        cursor: Some("41".into()),
        limit: 100,
    });
    visitor.visit(VerifyAuditLog {
        topic: Some("events".into()),
        cursor: Some("leaves.events-11-4096".into()),
    });
    visitor.visit(ReadAuditLog {
        topic: "events".into(),
        partition: 11,
        from: 4_000_000_000,
        limit: 100,
    });
    visitor.visit(RoleGranted {
        user_id: ATTENDEE,
        role: security::Role::Organizer,
        granted_by: Some(ORGANIZER),
    });
    visitor.visit(RoleRevoked {
        user_id: ATTENDEE,
        role: security::Role::Admin,
        revoked_by: Some(ORGANIZER),
    });
    visitor.visit(SignInFailed {
        user_id: Some(ATTENDEE),
        reason: SignInFailure::ClosedAccount,
    });
    visitor.visit(AccessDenied {
        user_id: Some(ATTENDEE),
        method: "GET".into(),
        route: "/v1/users/{id}".into(),
        code: "not-found".into(),
    });
    visitor.visit(PasswordChanged {
        user_id: ATTENDEE,
        by_reset: true,
    });
    visitor.visit(SessionFamilyRevoked {
        user_id: ATTENDEE,
        family_id: MESSAGE,
        reason: RevocationReason::TokenReused,
    });
    visitor.visit(FindAuditEntries {
        aggregate_id: Some(EVENT),
        correlation_id: Some(COMMAND),
        actor: Some(Actor::User(ORGANIZER).to_string()),
        message_type: Some("rollcall.events.EventPublished".into()),
        from: Some(time("2026-01-01T00:00:00Z")),
        until: Some(time("2027-01-01T00:00:00Z")),
        cursor: Some("events/3/1200".into()),
        limit: 100,
    });
    visitor.visit(CommandAccepted {
        command_id: COMMAND,
        version: 7,
        effects: vec![
            Effect {
                topic: "registrations".into(),
                key: EVENT,
                sequence: 6,
            },
            Effect {
                topic: "registrations".into(),
                key: EVENT,
                sequence: 7,
            },
        ],
        result: Some("{}".into()),
    });
    visitor.visit(CommandRejected {
        command_id: COMMAND,
        code: "email-taken".into(),
        detail: "Another user has this e-mail address.".into(),
        errors: vec![FieldError {
            field: "email".into(),
            code: "taken".into(),
            message: "Choose another address.".into(),
        }],
    });
    visitor.visit(CommandFailed {
        command_id: COMMAND,
        code: "expired".into(),
        detail: "The command arrived too late.".into(),
    });
    visitor.visit(MessageDeadLettered {
        service: "registration".into(),
        topic: "events".into(),
        partition: 11,
        offset: 4_000_000_000,
        message_id: Some(MESSAGE),
        message_type: Some("rollcall.events.EventPublished".into()),
        reason: DeadLetterReason::WrongKey,
        detail: "the key is not a UUID".into(),
        dead_lettered_at: time("2026-05-02T09:20:00Z"),
    });
    visitor.visit(ReleaseKey {
        service: "registration".into(),
        topic: "events".into(),
        parked_key: EVENT,
    });
    visitor.visit(FindParked {
        service: "registration".into(),
        cursor: Some("41".into()),
        limit: 100,
    });
    visitor.visit(FindDeadLetters {
        service: "registration".into(),
        cursor: Some("41".into()),
        limit: 100,
    });
    visitor.visit(ShowDeadLetter {
        service: "registration".into(),
        dead_letter_id: MESSAGE,
    });
    visitor.visit(RedriveDeadLetter {
        service: "registration".into(),
        dead_letter_id: MESSAGE,
    });
    visitor.visit(DiscardDeadLetter {
        service: "registration".into(),
        dead_letter_id: MESSAGE,
    });
    visitor.visit(DiscardParked {
        service: "registration".into(),
        topic: "events".into(),
        parked_key: EVENT,
        sequence: 12,
        message_id: Some(MESSAGE),
        reason: "its producer was not the event service".into(),
    });
    visitor.visit(SkipOffset {
        service: "registration".into(),
        topic: "events".into(),
        partition: 11,
        offset: 4_000_000_000,
        reason: "its header overflows a field".into(),
    });
    visitor.visit(WhereIs {
        service: "registration".into(),
        message_id: MESSAGE,
    });
    visitor.visit(Republish {
        service: "registration".into(),
        aggregate_id: EVENT,
        from_version: 3,
        to_version: Some(9),
    });
    visitor.visit(ReadHistory {
        service: "registration".into(),
        aggregate_id: EVENT,
        after_version: 3,
        limit: 100,
    });
    visitor.visit(ReadAggregate {
        service: "registration".into(),
        aggregate_id: EVENT,
        version: Some(9),
        at: Some(time("2026-05-02T10:15:00Z")),
    });
    visitor.visit(VerifySnapshots {
        service: "registration".into(),
    });
    visitor.visit(Replay {
        service: "registration".into(),
        projection: "events".into(),
    });
    visitor.visit(CreateAdmin {
        user_id: ATTENDEE,
        email: "ada@example.org".into(),
        username: "ada".into(),
        full_name: "Ada Lovelace".into(),
        date_of_birth: Date::from_ymd(1815, 12, 10).expect("a date"),
        time_zone: "Europe/London".into(),
    });
    visitor.visit(GrantRole {
        user_id: ATTENDEE,
        role: security::Role::Auditor,
    });
    visitor.visit(ProcessStatus {
        service: "registration".into(),
        instance: PROCESS,
        version: "0.1.0".into(),
        started_at: time("2026-05-02T09:00:00Z"),
        reported_at: time("2026-05-02T09:20:00Z"),
        ready: true,
        outbox_rows: 3,
        outbox_oldest_age_ms: 40,
        assignments: vec![Assignment {
            topic: "events".into(),
            partition: 11,
            position: 4_000_000_001,
            lag: 12,
            lag_ms: Some(900),
        }],
        parked_keys: 1,
        oldest_gap_age_ms: 300_000,
        dead_letters: 2,
    });
}

fn details() -> Details {
    Details {
        organizer_id: ORGANIZER,
        title: "Notes on the Engine".into(),
        description: "A reading, with tea.".into(),
        venue: "St James's Square 12".into(),
        starts_at: time("2026-06-01T18:00:00Z"),
        ends_at: time("2026-06-01T20:30:00Z"),
        time_zone: "Europe/London".into(),
        capacity: 200,
        registration_opens_at: Some(time("2026-03-01T08:00:00Z")),
        registration_closes_at: time("2026-05-31T22:00:00Z"),
        waiting_list: true,
        staff: vec![ATTENDEE, ORGANIZER],
    }
}

pub(crate) fn create_user() -> CreateUser {
    CreateUser {
        email: "ada@example.org".into(),
        username: "countess".into(),
        full_name: "Ada Lovelace".into(),
        date_of_birth: Date::from_ymd(1815, 12, 10).expect("a date"),
        time_zone: "Europe/London".into(),
    }
}

pub(crate) fn follow_event() -> FollowEvent {
    FollowEvent {
        event_sequence: 2,
        status: EventStatus::Published,
        terms: Some(terms()),
    }
}

fn terms() -> Terms {
    Terms {
        organizer_id: ORGANIZER,
        capacity: 200,
        waiting_list: true,
        registration_closes_at: time("2026-05-31T22:00:00Z"),
        starts_at: time("2026-06-01T18:00:00Z"),
        ends_at: time("2026-06-01T20:30:00Z"),
        registration_opens_at: Some(time("2026-03-01T08:00:00Z")),
        staff: vec![ATTENDEE, ORGANIZER],
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

#[test]
fn every_record_has_a_sample() {
    struct Names(Vec<&'static str>);
    impl Visitor for Names {
        fn visit<R: Record>(&mut self, _: R) {
            self.0.push(R::NAME);
        }
    }
    let mut names = Names(Vec::new());
    visit_all(&mut names);
    names.0.sort_unstable();

    let mut declared: Vec<_> = topics::ALL
        .iter()
        .flat_map(|topic| topic.records)
        .map(|record| record.name)
        .collect();
    declared.sort_unstable();
    assert_eq!(names.0, declared);
}
