//! Fingerprints of states: 128 bits, so that a collision among 10⁸ states has a probability of about 10⁻²³.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use siphasher::sip128::SipHasher13;

pub(crate) type Fingerprint = u128;

/// A map whose keys are fingerprints, which need no further hashing.
pub(crate) type Fingerprints<V> = HashMap<Fingerprint, V, BuildHasherDefault<LowBits>>;

/// Computes fingerprints (SipHash-1-3 with 128 bits).
#[derive(Default)]
pub(crate) struct Fingerprinter {
    bytes: Bytes,
    hasher: SipHasher13,
}

impl Fingerprinter {
    pub(crate) fn of(&mut self, state: &impl Hash) -> Fingerprint {
        self.bytes.0.clear();
        state.hash(&mut self.bytes);
        self.hasher.hash(&self.bytes.0).as_u128()
    }
}

/// The bytes of a state. Small numbers take one byte, because most lengths and discriminants are small.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn write_u8(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn write_usize(&mut self, number: usize) {
        match u8::try_from(number) {
            Ok(byte) if byte < u8::MAX => self.0.push(byte),
            _ => {
                self.0.push(u8::MAX);
                self.0.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    fn write_isize(&mut self, number: isize) {
        self.write_usize(number.cast_unsigned());
    }

    fn finish(&self) -> u64 {
        unreachable!("the bytes are hashed all at once")
    }
}

/// Takes the low half of a fingerprint as its hash.
#[derive(Default)]
pub(crate) struct LowBits(u64);

impl Hasher for LowBits {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only fingerprints are hashed")
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
