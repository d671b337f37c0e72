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

/// Signs, and says under which key.
#[derive(Clone)]
pub struct Signer {
    key: SigningKey,
    key_id: String,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("AUDIT_SIGNING_KEY is no Ed25519 private key in PKCS#8 PEM")]
    Setting,
    #[error("the key in the store can't be read")]
    Store(#[from] StoreError),
    #[error("the key in the store is none")]
    Stored,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    seed: Binary,
}

impl Signer {
    /// With the configured key, else with the one that the processes share through their store.
    pub async fn load(configured: Option<&Secret>, mongo: &Mongo) -> Result<Self, Error> {
        let key = match configured {
            Some(pem) => {
                // Environments that hold no line breaks write them as \n.
                let pem = pem.expose().replace("\\n", "\n");
                SigningKey::from_pkcs8_pem(&pem).map_err(|_| Error::Setting)?
            }
            None => shared(mongo).await?,
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

/// Names a public key: the first half of its SHA-256.
pub(crate) fn key_id(public_key: &[u8]) -> String {
    hex(&Sha256::digest(public_key)[..16])
}

/// Made by whichever process asks first.
async fn shared(mongo: &Mongo) -> Result<SigningKey, Error> {
    let keys = mongo.collection::<Stored>(SIGNING_KEY);
    let made = Stored {
        seed: binary(&rand::random::<[u8; 32]>()),
    };
    let ask = || async {
        keys.find_one_and_update(doc! { "_id": "own" }, doc! { "$setOnInsert": { "seed": &made.seed } })
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await
    };
    // Two that make it at once: the second one's upsert is a duplicate key, and then it is there.
    let stored = match ask().await {
        Ok(stored) => stored,
        Err(_) => ask().await.map_err(store_error)?,
    };
    let seed = stored.and_then(|stored| stored.seed.bytes.try_into().ok());
    Ok(SigningKey::from_bytes(&seed.ok_or(Error::Stored)?))
}
