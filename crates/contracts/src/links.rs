//! Tokens in links sent by e-mail. The gateway and the mailer share a key, and exchange user, purpose, nonce and expiry
//! over Kafka. Each computes the same token from them, so no token is ever on a topic.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use crate::Timestamp;

/// Minimum length of the key, in characters.
pub const MIN_KEY: usize = 32;

const ID: usize = 16;
const SIGNED: usize = ID + ID + 8;
const MAC: usize = 32;

/// Purpose of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    VerifyEmail,
    ResetPassword,
}

/// Content of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub user_id: Uuid,
    pub nonce: Uuid,
    pub expires_at: Timestamp,
}

/// The key that the gateway and the mailer share.
#[derive(Clone)]
pub struct LinkKey(Hmac<Sha256>);

/// A string that has the form of a token. Only the key can verify that it is genuine.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub link: Link,
    mac: [u8; MAC],
}

impl LinkKey {
    /// Creates a key from a secret, which must have at least [`MIN_KEY`] characters.
    pub fn new(secret: &str) -> Self {
        Self(Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length"))
    }

    /// Returns the token in base64url (RFC 4648).
    ///
    /// It is bound to the address that it is sent to, ignoring case, so it becomes invalid when the user changes the
    /// address.
    pub fn token(&self, purpose: Purpose, link: &Link, email: &str) -> String {
        let mac = self.mac(purpose, link, email).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([&signed(link)[..], &mac].concat())
    }

    /// Returns `true` if the token was created with this key, for this purpose and this address.
    ///
    /// Does not check whether the token has expired or was used. Takes constant time, whatever differs.
    pub fn is_genuine(&self, purpose: Purpose, token: &Token, email: &str) -> bool {
        self.mac(purpose, &token.link, email).verify_slice(&token.mac).is_ok()
    }

    fn mac(&self, purpose: Purpose, link: &Link, email: &str) -> Hmac<Sha256> {
        let purpose: &[u8] = match purpose {
            Purpose::VerifyEmail => b"verify-email",
            Purpose::ResetPassword => b"reset-password",
        };
        let mut mac = self.0.clone();
        mac.update(purpose);
        mac.update(&[0]);
        mac.update(&signed(link));
        mac.update(email.to_lowercase().as_bytes());
        mac
    }
}

impl Token {
    /// Parses the text of [`LinkKey::token`]. Returns `None` if the text is not a token.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, mac) = bytes.split_at_checked(SIGNED)?;
        let mac = mac.try_into().ok()?;
        let (user, rest) = signed.split_at(ID);
        let (nonce, expiry) = rest.split_at(ID);
        let micros = i64::from_be_bytes(expiry.try_into().ok()?);
        let link = Link {
            user_id: Uuid::from_slice(user).ok()?,
            nonce: Uuid::from_slice(nonce).ok()?,
            expires_at: Timestamp::from_micros(micros).ok()?,
        };
        Some(Self { link, mac })
    }
}

fn signed(link: &Link) -> [u8; SIGNED] {
    let mut bytes = [0; SIGNED];
    bytes[..ID].copy_from_slice(link.user_id.as_bytes());
    bytes[ID..2 * ID].copy_from_slice(link.nonce.as_bytes());
    bytes[2 * ID..].copy_from_slice(&link.expires_at.as_micros().to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a key of thirty-two characters..";

    fn link() -> Link {
        Link {
            user_id: Uuid::from_u128(1),
            nonce: Uuid::from_u128(2),
            expires_at: "2026-06-01T18:00:00.000001Z".parse().expect("a time"),
        }
    }

    #[test]
    fn a_token_is_genuine_for_its_key_purpose_and_address_only() {
        let key = LinkKey::new(SECRET);
        let text = key.token(Purpose::VerifyEmail, &link(), "Ada@example.org");
        let token = Token::parse(&text).expect("a token");

        assert_eq!(token.link, link());
        assert!(key.is_genuine(Purpose::VerifyEmail, &token, "ada@EXAMPLE.org"));
        assert!(!key.is_genuine(Purpose::ResetPassword, &token, "ada@example.org"));
        assert!(!key.is_genuine(Purpose::VerifyEmail, &token, "ada@example.net"));
        assert!(!LinkKey::new("another key").is_genuine(Purpose::VerifyEmail, &token, "ada@example.org"));
    }

    #[test]
    fn a_token_with_any_other_bit_is_not_genuine() {
        let key = LinkKey::new(SECRET);
        let text = key.token(Purpose::ResetPassword, &link(), "ada@example.org");
        let bytes = URL_SAFE_NO_PAD.decode(&text).expect("base64url");
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let genuine = Token::parse(&URL_SAFE_NO_PAD.encode(other))
                .is_some_and(|token| key.is_genuine(Purpose::ResetPassword, &token, "ada@example.org"));
            assert!(!genuine, "bit {bit}");
        }
        for text in ["", "x", &text[1..], &format!("{text}A")] {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }
}
