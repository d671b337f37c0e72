//! The key that signs checkpoints: Ed25519 (RFC 8032).

use chassis::settings::Secret;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer as _, SigningKey};
use messaging::ledger::StoreError;
use mongo::{Mongo, store_error};
use mongodb::bson::{Binary, doc};
use mongodb::options::ReturnDocument;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::entry::{binary, hex};
use crate::store::SIGNING_KEY;

/// Signs strings with one key.
#[derive(Clone)]
pub struct Signer {
    key: SigningKey,
    key_id: String,
}

/// The reason why no key is available.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("AUDIT_SIGNING_KEY is not an Ed25519 private key in PKCS#8 PEM")]
    InvalidSetting,
    #[error("the signing key cannot be read from the store")]
    Store(#[from] StoreError),
    #[error("the signing key in the store is not a valid Ed25519 key")]
    InvalidStoredKey,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    seed: Binary,
}

impl Signer {
    /// Loads the configured key, or, if there is none, the key that all processes share through the store.
    pub async fn load(configured: Option<&Secret>, mongo: &Mongo) -> Result<Self, Error> {
        let key = match configured {
            Some(pem) => {
                // Some environments cannot contain line breaks, which are then written as \n.
                let pem = pem.expose().replace("\\n", "\n");
                SigningKey::from_pkcs8_pem(&pem).map_err(|_| Error::InvalidSetting)?
            }
            None => load_or_create(mongo).await?,
        };
        let key_id = key_id(key.verifying_key().as_bytes());
        Ok(Self { key, key_id })
    }

    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
    }

    pub(crate) fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    pub(crate) fn sign(&self, text: &str) -> [u8; 64] {
        self.key.sign(text.as_bytes()).to_bytes()
    }
}

/// Returns the id of a public key, which is the first half of its SHA-256.
pub(crate) fn key_id(public_key: &[u8]) -> String {
    hex(&Sha256::digest(public_key)[..16])
}

/// Reads the shared key from the store. The first process creates it.
async fn load_or_create(mongo: &Mongo) -> Result<SigningKey, Error> {
    let keys = mongo.collection::<StoredKey>(SIGNING_KEY);
    let generated = StoredKey {
        seed: binary(&rand::random::<[u8; 32]>()),
    };
    let upsert = || async {
        keys.find_one_and_update(
            doc! { "_id": "own" },
            doc! { "$setOnInsert": { "seed": &generated.seed } },
        )
        .upsert(true)
        .return_document(ReturnDocument::After)
        .await
    };
    // If two processes create the key concurrently, the upsert of the second one fails with a duplicate key. The retry finds
    // the key of the first one.
    let stored = match upsert().await {
        Ok(stored) => stored,
        Err(_) => upsert().await.map_err(store_error)?,
    };
    let seed = stored.and_then(|stored| stored.seed.bytes.try_into().ok());
    Ok(SigningKey::from_bytes(&seed.ok_or(Error::InvalidStoredKey)?))
}
