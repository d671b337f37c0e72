//! Decoding of any bytes ends with a record or an error, and never with a panic.

use contracts::{Codec, CommandAccepted, Record, codec::Error};
use proptest::{prelude::*, sample::Index};

use crate::samples::{Visitor, visit_all};

/// The bytes of all samples, each with its typed decoder.
struct Encoded {
    codec: Codec,
    all: Vec<(Vec<u8>, Decoder)>,
}

type Decoder = fn(&Codec, &[u8]) -> Result<(), Error>;

impl Visitor for Encoded {
    fn visit<R: Record>(&mut self, sample: R) {
        let framed = self.codec.encode(&sample).expect("a sample can be encoded");
        self.all
            .push((framed, |codec, framed| codec.decode::<R>(framed).map(drop)));
    }
}

fn encoded() -> Encoded {
    let mut encoded = Encoded {
        codec: Codec::local(),
        all: Vec::new(),
    };
    visit_all(&mut encoded);
    encoded
}

#[test]
fn every_truncation_is_rejected() {
    let Encoded { codec, all } = encoded();
    for (framed, decode) in all {
        decode(&codec, &framed).expect("the whole decodes");
        for end in 0..framed.len() {
            decode(&codec, &framed[..end]).expect_err("a part does not decode");
            codec
                .to_json(&framed[..end])
                .expect_err("a part does not decode generically");
        }
    }
}

#[test]
fn trailing_bytes_are_rejected() {
    let Encoded { codec, all } = encoded();
    for (mut framed, decode) in all {
        framed.extend([0, 0]);
        assert!(matches!(
            decode(&codec, &framed),
            Err(Error::TrailingBytes { bytes: 2, .. })
        ));
        assert!(matches!(
            codec.to_json(&framed),
            Err(Error::TrailingBytes { bytes: 2, .. })
        ));
    }
}

#[test]
fn a_value_without_a_valid_header_is_rejected() {
    let Encoded { codec, all } = encoded();
    for (mut framed, decode) in all {
        framed[0] = 1;
        assert!(matches!(decode(&codec, &framed), Err(Error::NotFramed(_))));
    }
    assert!(matches!(codec.to_json(b""), Err(Error::NotFramed(_))));
    assert!(matches!(codec.to_json(br#"{"email":"ada"}"#), Err(Error::NotFramed(_))));
}

#[test]
fn a_length_beyond_any_message_is_rejected_before_allocation() {
    let codec = Codec::local();
    let (_, id) = codec
        .schema_ids()
        .into_iter()
        .find(|(name, _)| *name == contracts::DeactivateUser::NAME)
        .expect("the topic table lists it");
    let huge = [
        &[0][..],
        &id.to_be_bytes(),
        &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ]
    .concat();
    let error = codec
        .decode::<contracts::DeactivateUser>(&huge)
        .expect_err("4 exabytes");
    assert!(
        matches!(
            error,
            Error::Datum {
                reason: "a length is larger than any message",
                ..
            }
        ),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics(which: Index, datum in prop::collection::vec(any::<u8>(), 0..200)) {
        let Encoded { codec, all } = encoded();
        let (framed, decode) = which.get(&all);
        let garbage = [&framed[..5], &datum].concat();
        let _ = decode(&codec, &garbage);
        let _ = codec.to_json(&garbage);
        let _ = codec.to_json_without_personal(&datum);
    }

    #[test]
    fn garbage_of_another_version_never_panics(datum in prop::collection::vec(any::<u8>(), 0..200)) {
        let codec = Codec::local();
        let newer = CommandAccepted::SCHEMA.replacen(r#""fields": ["#, r#""fields": [{ "name": "new", "type": "long" },"#, 1);
        codec.learn(1000, &newer).expect("a valid schema");
        let garbage = [&[0, 0, 0, 3, 232][..], &datum].concat();
        let _ = codec.decode::<CommandAccepted>(&garbage);
    }

    #[test]
    fn flipped_bytes_never_panic(which: Index, flips in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4)) {
        let Encoded { codec, all } = encoded();
        let (mut framed, decode) = which.get(&all).clone();
        for (at, byte) in flips {
            let at = at.index(framed.len());
            framed[at] = byte;
        }
        let _ = decode(&codec, &framed);
        let _ = codec.to_json(&framed);
    }
}
