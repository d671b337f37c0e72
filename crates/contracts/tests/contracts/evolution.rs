//! Current readers with writers of other versions.

use contracts::{
    CancelReason, Codec, CommandAccepted, DeactivateUser, EventStatus, FollowEvent, Message, RegistrationCancelled,
    Terms, UserCommand, codec::Error,
};
use uuid::Uuid;

use crate::samples::follow_event;

const ID: i32 = 4711;

/// Returns a value framed with [`ID`].
fn framed(datum: &[u8]) -> Vec<u8> {
    [&[0][..], &ID.to_be_bytes(), datum].concat()
}

/// Returns a codec that has learned `schema` after these replacements in its text.
fn codec_with(schema: &str, changes: &[(&str, &str)]) -> Codec {
    let mut schema = schema.to_owned();
    for (from, to) in changes {
        assert!(schema.contains(from), "{from} is not in the schema");
        schema = schema.replacen(from, to, 1);
    }
    let codec = Codec::local();
    codec.learn(ID, &schema).expect("a valid schema");
    codec
}

fn schema<R: contracts::Record>() -> &'static str {
    R::SCHEMA
}

fn uuid_bytes(id: Uuid) -> Vec<u8> {
    [&[72][..], id.to_string().as_bytes()].concat()
}

#[test]
fn a_symbol_of_a_newer_writer_is_read_as_unknown() {
    let codec = codec_with(
        schema::<FollowEvent>(),
        &[(
            r#""PUBLISHED", "CANCELLED""#,
            r#""POSTPONED", "PUBLISHED", "CANCELLED""#,
        )],
    );
    let decode = |symbol| {
        codec
            .decode::<FollowEvent>(&framed(&[4, symbol, 0]))
            .map(|record| record.status)
    };

    assert_eq!(decode(0).expect("decodes"), EventStatus::Unknown);
    assert_eq!(decode(2).expect("decodes"), EventStatus::Published);
    assert_eq!(decode(8).expect("decodes"), EventStatus::Unknown);
    assert!(decode(10).is_err(), "not a symbol of the writer either");
}

#[test]
fn additional_fields_are_skipped_and_missing_fields_get_their_default() {
    // Additional fields at the beginning and the end, the known ones in another order, and no `result`.
    let newer = r#"{
        "type": "record", "namespace": "rollcall.gateway.replies", "name": "CommandAccepted",
        "fields": [
            { "name": "took_ms", "type": "double", "default": 0 },
            { "name": "version", "type": "int" },
            { "name": "effects", "type": { "type": "array", "items": {
                "type": "record", "name": "Effect", "fields": [
                    { "name": "topic", "type": "string" },
                    { "name": "partition", "type": "int", "default": 0 },
                    { "name": "key", "type": "string" },
                    { "name": "sequence", "type": "long" }
                ]
            } } },
            { "name": "command_id", "type": { "type": "string", "logicalType": "uuid" } },
            { "name": "notes", "type": { "type": "map", "values": "bytes" }, "default": {} }
        ]
    }"#;
    let codec = Codec::local();
    codec.learn(ID, newer).expect("a valid schema");
    let (command_id, key) = (Uuid::from_u128(7), Uuid::from_u128(8));
    let datum = [
        &1.5_f64.to_le_bytes()[..],
        &[6], // version 3
        &[2, 10],
        b"users", // one effect
        &[22],    // partition 11
        &uuid_bytes(key),
        &[6, 0],
        &uuid_bytes(command_id),
        &[2, 2, b'a', 4, 1, 2, 0], // notes {"a": 0x0102}
    ]
    .concat();

    let accepted: CommandAccepted = codec.decode(&framed(&datum)).expect("decodes");

    assert_eq!(
        (accepted.command_id, accepted.version, accepted.result),
        (command_id, 3, None)
    );
    assert_eq!(accepted.effects.len(), 1);
    let effect = &accepted.effects[0];
    assert_eq!((effect.topic.as_str(), effect.key, effect.sequence), ("users", key, 3));

    let (_, json) = codec.to_json(&framed(&datum)).expect("decodes");
    assert_eq!((&json["took_ms"], &json["notes"]["a"]), (&1.5.into(), &"0102".into()));
}

#[test]
fn a_truncated_datum_of_a_newer_writer_is_rejected() {
    // The last field is nullable, and apache-avro reads its absence as null.
    let codec = codec_with(
        schema::<FollowEvent>(),
        &[(r#""ENDED", "UNKNOWN""#, r#""ENDED", "LOST", "UNKNOWN""#)],
    );
    let complete = framed(&[4, 0, 0]);
    codec.decode::<FollowEvent>(&complete).expect("decodes");

    for end in 5..complete.len() {
        let error = codec.decode::<FollowEvent>(&complete[..end]).expect_err("truncated");
        assert!(
            matches!(
                error,
                Error::Datum {
                    reason: "they end too early",
                    ..
                }
            ),
            "{end}: {error}"
        );
        codec.to_json(&complete[..end]).expect_err("truncated");
    }
}

#[test]
fn docs_and_logical_types_of_the_writer_do_not_affect_decoding() {
    let codec = codec_with(
        schema::<RegistrationCancelled>(),
        &[
            (r#""A registration was cancelled.""#, r#""Other words.""#),
            (r#", "logicalType": "uuid""#, ""),
        ],
    );
    let (registration_id, user_id) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let datum = [&uuid_bytes(registration_id)[..], &uuid_bytes(user_id), &[4, 1]].concat();

    let cancelled: RegistrationCancelled = codec.decode(&framed(&datum)).expect("decodes");

    let reason = CancelReason::EventCancelled;
    assert_eq!(
        cancelled,
        RegistrationCancelled {
            registration_id,
            user_id,
            reason,
            had_seat: true
        }
    );
}

#[test]
fn a_value_that_the_type_does_not_allow_is_undecodable() {
    let codec = codec_with(schema::<FollowEvent>(), &[]);
    let datum = |id: &str, micros: i64| {
        let mut varint = Vec::new();
        let mut zigzag = ((micros << 1) ^ (micros >> 63)) as u64;
        while zigzag > 127 {
            varint.push(zigzag as u8 | 128);
            zigzag >>= 7;
        }
        varint.push(zigzag as u8);
        [
            &[4, 0, 2, u8::try_from(id.len()).expect("short") * 2][..],
            id.as_bytes(),
            &[20, 1],
            &varint,
            // Starts and ends in 1970, no opening of registration, no staff.
            &[0, 0, 0, 0],
        ]
        .concat()
    };
    let id = Uuid::from_u128(9).to_string();

    let followed: FollowEvent = codec.decode(&framed(&datum(&id, -1))).expect("decodes");
    assert_eq!(
        followed
            .terms
            .map(|terms: Terms| terms.registration_closes_at.as_micros()),
        Some(-1)
    );
    for (id, micros) in [("not-a-uuid", 0), (id.as_str(), i64::MAX), (id.as_str(), i64::MIN)] {
        let error = codec
            .decode::<FollowEvent>(&framed(&datum(id, micros)))
            .expect_err("undecodable");
        assert!(matches!(error, Error::Datum { .. }), "{error}");
    }
}

#[test]
fn an_unknown_schema_id_has_its_own_error_and_can_be_learned() {
    let codec = Codec::local();
    let bytes = framed(&[4, b'n', b'o']);
    assert!(matches!(
        codec.decode::<DeactivateUser>(&bytes),
        Err(Error::UnknownSchema(ID))
    ));
    assert!(matches!(codec.to_json(&bytes), Err(Error::UnknownSchema(ID))));

    let clone = codec.clone();
    codec.learn(ID, schema::<DeactivateUser>()).expect("a valid schema");
    codec.learn(ID, schema::<DeactivateUser>()).expect("the same again");

    let learned: DeactivateUser = clone.decode(&bytes).expect("decodes");
    assert_eq!(learned.reason, "no");
    let error = codec
        .learn(ID, schema::<FollowEvent>())
        .expect_err("another schema under the same id");
    assert!(matches!(error, Error::IdTaken { id: ID, .. }), "{error}");
    for bad in [
        "",
        "{}",
        r#""string""#,
        r#"{ "type": "record", "name": "A", "fields": [{ "name": "b", "type": "B" }] }"#,
    ] {
        assert!(
            matches!(codec.learn(1, bad), Err(Error::BadSchema { id: 1, .. })),
            "{bad}"
        );
    }
}

#[test]
fn the_name_in_the_header_must_match_the_schema() {
    let codec = Codec::local();
    let framed = UserCommand::from(DeactivateUser { reason: "no".into() })
        .encode(&codec)
        .expect("encodes");

    assert_eq!(
        codec.record_name(&framed).expect("known"),
        "rollcall.users.commands.DeactivateUser"
    );
    let error = UserCommand::decode(&codec, "rollcall.users.commands.CreateUser", &framed).expect_err("two names");
    assert!(matches!(error, Error::WrongRecord { .. }), "{error}");
    let unknown = UserCommand::decode(&codec, "rollcall.users.commands.RenameUser", &framed);
    assert!(matches!(unknown, Ok(None)), "{unknown:?}");
}

#[test]
fn ids_must_be_complete_and_distinct() {
    let ids = Codec::local().schema_ids();
    let again = Codec::with_ids(ids.clone()).expect("complete");
    assert_eq!(again.schema_ids(), ids);

    let (last, rest) = ids.split_last().expect("there are records");
    let error = Codec::with_ids(rest.iter().copied()).expect_err("one is missing");
    assert_eq!(error.to_string(), format!("no schema id is known for {}", last.0));
    let error = Codec::with_ids(rest.iter().copied().chain([(last.0, rest[0].1)])).expect_err("one id twice");
    assert!(matches!(error, Error::IdTaken { .. }), "{error}");
    let error = Codec::with_ids(ids.iter().copied().chain([("rollcall.users.UserRenamed", 999)]))
        .expect_err("an unknown record");
    assert!(matches!(error, Error::UnknownRecord(_)), "{error}");
}

#[test]
fn json_renders_times_dates_and_ids_as_text() {
    let codec = Codec::local();
    let framed = codec.encode(&follow_event()).expect("encodes");
    let (name, json) = codec.to_json(&framed).expect("decodes");

    assert_eq!(name, "rollcall.registrations.commands.FollowEvent");
    assert_eq!(
        json,
        serde_json::json!({
            "event_sequence": 2,
            "status": "PUBLISHED",
            "terms": {
                "organizer_id": "01957a3c-0000-7000-8000-000000000001",
                "capacity": 200,
                "waiting_list": true,
                "registration_closes_at": "2026-05-31T22:00:00Z",
                "starts_at": "2026-06-01T18:00:00Z",
                "ends_at": "2026-06-01T20:30:00Z",
                "registration_opens_at": "2026-03-01T08:00:00Z",
                "staff": ["01957a3c-0000-7000-8000-000000000002", "01957a3c-0000-7000-8000-000000000001"]
            }
        })
    );
}
