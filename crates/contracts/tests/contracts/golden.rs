//! The bytes on the wire, compared with files, so a change of the encoding, a schema or a sample shows as a diff.
//!
//! After an intended change: `UPDATE_GOLDEN=1 cargo test -p contracts golden`.

use std::{collections::BTreeSet, fs, path::PathBuf};

use contracts::{Codec, Record, topics};

use crate::samples::{Visitor, visit_all};

#[test]
fn every_record_encodes_to_and_decodes_from_its_golden_bytes() {
    struct Compare {
        codec: Codec,
        update: bool,
    }
    impl Visitor for Compare {
        fn visit<R: Record>(&mut self, sample: R) {
            let file = folder().join(format!("{}.hex", R::NAME));
            let framed = self.codec.encode(&sample).expect("a sample can be encoded");
            if self.update {
                fs::write(&file, to_hex(&framed)).expect("the golden file can be written");
            }
            let golden = fs::read_to_string(&file)
                .unwrap_or_else(|error| panic!("{}: {error}; see the top of this file", file.display()));
            assert_eq!(to_hex(&framed), golden, "{}", R::NAME);

            let decoded: R = self
                .codec
                .decode(&from_hex(&golden))
                .expect("golden bytes can be decoded");
            assert!(decoded == sample, "{} decodes to something else", R::NAME);
        }
    }
    visit_all(&mut Compare {
        codec: codec(),
        update: std::env::var_os("UPDATE_GOLDEN").is_some(),
    });

    let files: BTreeSet<_> = fs::read_dir(folder())
        .expect("the golden folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    let records: BTreeSet<_> = topics::ALL
        .iter()
        .flat_map(|topic| topic.records)
        .map(|record| format!("{}.hex", record.name))
        .collect();
    assert_eq!(files, records, "no golden file is left over");
}

/// Returns a codec whose ids are derived from the names, so a new record does not change the bytes of others.
fn codec() -> Codec {
    let names = topics::ALL
        .iter()
        .flat_map(|topic| topic.records)
        .map(|record| record.name);
    Codec::with_ids(names.map(|name| {
        // FNV-1a
        let hash = name.bytes().fold(0x811c_9dc5, |hash: u32, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        (name, i32::try_from(hash >> 1).expect("31 bits"))
    }))
    .expect("the names give different ids")
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn to_hex(bytes: &[u8]) -> String {
    bytes
        .chunks(32)
        .flat_map(|line| line.iter().map(|byte| format!("{byte:02x}")).chain(["\n".to_owned()]))
        .collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal"))
        .collect()
}
