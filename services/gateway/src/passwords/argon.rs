//! Argon2id with working memory that is reused from one hash to the next.

use argon2::password_hash::{self, Output, ParamsString, PasswordHash, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use rand::RngCore;

// OWASP Password Storage Cheat Sheet: Argon2id, 19 MiB, t=2, p=1.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Maximum passes and lanes of a stored hash. Its parameters come from the database, and an attacker who can write there must not
/// be able to occupy a hasher for long.
const MAX_PASSES: u32 = 8;
const MAX_LANES: u32 = 8;

/// The working memory of one hasher.
///
/// It is allocated once, because glibc does not reuse a freed chunk of this size and alignment: other allocations carve it
/// up first, and the process grows by 19 MiB with each hash.
pub(super) struct Memory(Vec<Block>);

impl Memory {
    /// Size in bytes.
    pub(super) const BYTES: u64 = MEMORY_KIB as u64 * 1024;

    pub(super) fn new() -> Self {
        let blocks = params().block_count();
        Self(vec![Block::default(); blocks])
    }

    /// Returns the hash of a password under a new salt, in PHC string format.
    pub(super) fn hash(&mut self, password: &str) -> String {
        let mut salt = [0; 16];
        rand::rng().fill_bytes(&mut salt);
        let (algorithm, version, params) = (Algorithm::Argon2id, Version::V0x13, params());
        let text = SaltString::encode_b64(&salt).expect("16 bytes are a salt");
        let hash = PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: ParamsString::try_from(&params).expect("these parameters can be formatted"),
            salt: Some(text.as_salt()),
            hash: Some(
                self.output(
                    password,
                    &salt,
                    Argon2::new(algorithm, version, params),
                    Params::DEFAULT_OUTPUT_LEN,
                )
                .expect("any password of at most 4 GiB can be hashed"),
            ),
        };
        hash.to_string()
    }

    /// Returns `true` if `hash`, in PHC string format, is the hash of this password. The password is hashed with the
    /// parameters of `hash`, and the hashes are compared in constant time.
    ///
    /// # Errors
    /// Returns an error if `hash` is not an Argon2 hash, or if its parameters exceed this memory or the maximum cost.
    pub(super) fn verify(&mut self, password: &str, hash: &str) -> password_hash::Result<bool> {
        let hash = PasswordHash::new(hash)?;
        let algorithm = Algorithm::try_from(hash.algorithm)?;
        let version = hash.version.map_or(Ok(Version::default()), Version::try_from)?;
        let params = Params::try_from(&hash)?;
        if params.block_count() > self.0.len() || params.t_cost() > MAX_PASSES || params.p_cost() > MAX_LANES {
            return Err(password_hash::Error::ParamValueInvalid(
                password_hash::errors::InvalidValue::TooLong,
            ));
        }
        let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else {
            return Err(password_hash::Error::PhcStringField);
        };
        let mut bytes = [0; 64];
        let salt = salt.decode_b64(&mut bytes)?;
        let output = self.output(password, salt, Argon2::new(algorithm, version, params), expected.len())?;
        // `Output` compares in constant time.
        Ok(output == expected)
    }

    fn output(
        &mut self,
        password: &str,
        salt: &[u8],
        argon2: Argon2<'_>,
        length: usize,
    ) -> password_hash::Result<Output> {
        Output::init_with(length, |output| {
            argon2.hash_password_into_with_memory(password.as_bytes(), salt, output, &mut self.0[..])?;
            Ok(())
        })
    }
}

fn params() -> Params {
    Params::new(MEMORY_KIB, PASSES, LANES, None).expect("these parameters are valid")
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;
    use argon2::password_hash::PasswordVerifier;

    use super::*;

    const PASSWORD: &str = "correct horse battery";

    /// Returns the hash that the library computes in memory that it allocates.
    fn by_the_library(algorithm: Algorithm, version: Version, params: Params) -> String {
        let salt = SaltString::encode_b64(b"sixteen bytes of").expect("a salt");
        let argon2 = Argon2::new(algorithm, version, params);
        let hash = argon2.hash_password(PASSWORD.as_bytes(), &salt);
        hash.expect("valid parameters").to_string()
    }

    #[test]
    fn each_hash_in_the_same_memory_is_verified_by_the_library() {
        let mut memory = Memory::new();
        let hashes: Vec<_> = (0..3)
            .map(|number| memory.hash(&format!("{PASSWORD} {number}")))
            .collect();
        for (number, text) in hashes.iter().enumerate() {
            let hash = PasswordHash::new(text).expect("a PHC string");
            let password = format!("{PASSWORD} {number}");
            assert!(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
            assert_eq!(memory.verify(&password, text), Ok(true));
            assert_eq!(memory.verify(PASSWORD, text), Ok(false));
        }
    }

    #[test]
    fn a_hash_is_verified_with_its_own_parameters() {
        let mut memory = Memory::new();
        for (algorithm, version, (kib, passes, lanes, length)) in [
            (Algorithm::Argon2id, Version::V0x13, (MEMORY_KIB, PASSES, LANES, None)),
            (Algorithm::Argon2id, Version::V0x13, (4096, 3, 1, Some(16))),
            (Algorithm::Argon2i, Version::V0x10, (64, 1, 4, Some(64))),
            (Algorithm::Argon2d, Version::V0x13, (8, 1, 1, None)),
        ] {
            let params = Params::new(kib, passes, lanes, length).expect("valid parameters");
            let hash = by_the_library(algorithm, version, params);
            assert_eq!(memory.verify(PASSWORD, &hash), Ok(true), "{hash}");
            assert_eq!(memory.verify("another password", &hash), Ok(false), "{hash}");
        }
    }

    #[test]
    fn a_hash_that_costs_too_much_or_is_malformed_is_refused() {
        let mut memory = Memory::new();
        let good = memory.hash(PASSWORD);
        for (from, to) in [
            ("m=19456", "m=19460"),
            ("m=19456", "m=4294967295"),
            ("t=2", "t=9"),
            ("t=2", "t=4294967295"),
            ("p=1", "p=9"),
            ("argon2id", "scrypt"),
            ("$v=19", "$v=20"),
            ("$argon2id", "argon2id"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(memory.verify(PASSWORD, &bad).is_err(), "{bad}");
        }
        let (without_output, _) = good.rsplit_once('$').expect("five parts");
        assert!(memory.verify(PASSWORD, without_output).is_err());
    }
}
