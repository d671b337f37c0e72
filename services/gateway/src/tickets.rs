//! Ticket codes, which attendees show at the check-in.

use std::sync::Arc;

use chassis::settings::Secret;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// The base 32 alphabet (RFC 4648).
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Number of bytes of the HMAC that a code holds. A guess is right with a probability of 2^-80.
const BYTES: usize = 10;
/// Number of characters of a code. Each holds 5 bits.
pub const CHARACTERS: usize = BYTES * 8 / 5;

/// Creates and verifies ticket codes. Cheap to clone.
///
/// A code is the beginning of an HMAC-SHA256 of the registration's id, in base 32. It is not stored, and it cannot be created
/// without the key.
#[derive(Clone)]
pub struct Tickets(Arc<Hmac<Sha256>>);

impl Tickets {
    pub fn new(key: &Secret) -> Self {
        let mac = Hmac::new_from_slice(key.expose().as_bytes()).expect("HMAC takes keys of any length");
        Self(Arc::new(mac))
    }

    /// Returns the code of a registration.
    pub fn code(&self, registration: Uuid) -> String {
        let mac = self.mac(registration).finalize().into_bytes();
        encode(mac[..BYTES].try_into().expect("the HMAC has 32 bytes"))
    }

    /// Returns `true` if this is the code of the registration, in upper or lower case. The comparison takes constant time.
    pub fn is_genuine(&self, registration: Uuid, code: &str) -> bool {
        decode(code).is_some_and(|bytes| self.mac(registration).verify_truncated_left(&bytes).is_ok())
    }

    fn mac(&self, registration: Uuid) -> Hmac<Sha256> {
        let mut mac = Hmac::clone(&self.0);
        mac.update(registration.as_bytes());
        mac
    }
}

fn encode(bytes: [u8; BYTES]) -> String {
    let bits = bytes.iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    let digit = |index: usize| usize::try_from(bits >> (5 * index) & 31).expect("5 bits");
    (0..CHARACTERS)
        .rev()
        .map(|index| char::from(ALPHABET[digit(index)]))
        .collect()
}

fn decode(code: &str) -> Option<[u8; BYTES]> {
    if code.len() != CHARACTERS {
        return None;
    }
    let bits = code.bytes().try_fold(0_u128, |bits, byte| {
        let digit = ALPHABET.iter().position(|known| *known == byte.to_ascii_uppercase())?;
        Some(bits << 5 | u128::try_from(digit).ok()?)
    })?;
    bits.to_be_bytes()[16 - BYTES..].try_into().ok()
}

#[cfg(test)]
mod tests {
    use chassis::settings::Settings;

    use super::*;

    fn tickets(key: &str) -> Tickets {
        let key = Settings::from_map([("KEY", key)]).read(|read| read.required("KEY", "k", "a key"));
        Tickets::new(&key.expect("valid"))
    }

    #[test]
    fn a_code_is_encoded_in_the_base_32_of_rfc_4648() {
        assert_eq!(encode(*b"foobarfoob"), "MZXW6YTBOJTG633C");
        assert_eq!(decode("MZXW6YTBOJTG633C"), Some(*b"foobarfoob"));
        assert_eq!(encode([0; BYTES]), "AAAAAAAAAAAAAAAA");
        assert_eq!(encode([255; BYTES]), "7777777777777777");
    }

    #[test]
    fn a_code_is_valid_for_one_registration_and_one_key() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let tickets_one = tickets("one");
        let code = tickets_one.code(one);
        assert_eq!(code.len(), CHARACTERS);
        assert!(tickets_one.is_genuine(one, &code));
        assert!(tickets_one.is_genuine(one, &code.to_lowercase()));
        assert!(!tickets_one.is_genuine(two, &code));
        assert!(!tickets("two").is_genuine(one, &code));
    }

    #[test]
    fn a_code_with_one_wrong_character_or_length_is_not_valid() {
        let tickets = tickets("one");
        let id = Uuid::from_u128(1);
        let code = tickets.code(id);
        for index in 0..CHARACTERS {
            let mut other = code.clone().into_bytes();
            other[index] = if other[index] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("ASCII");
            assert!(!tickets.is_genuine(id, &other), "{other}");
        }
        for text in [
            "",
            "A",
            &code[1..],
            &format!("{code}A"),
            "MZXW6YTBOJTG63=C",
            "MZXW6YTBOJTG63ÄC",
        ] {
            assert!(!tickets.is_genuine(id, text), "{text}");
        }
    }
}
