//! Signing keys of access tokens, verified as a third party would.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::Timestamp;
use ed25519_dalek::{Signature, VerifyingKey};
use rsa::pkcs1v15;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::signature::Verifier;
use rsa::{BigUint, RsaPrivateKey, RsaPublicKey};
use serde_json::Value;
use sha2::Sha256;

use crate::app::{Gateway, Person, TestApp};

const MINUTE: Duration = Duration::from_secs(60);

fn decode(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("a string");
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

/// Returns the signed part and the signature of a token.
fn parts(token: &str) -> (&str, Vec<u8>) {
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    (signed, URL_SAFE_NO_PAD.decode(signature).expect("base64url"))
}

fn kid(token: &str) -> Value {
    let header = token.split('.').next().expect("three parts");
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON");
    header["kid"].clone()
}

async fn published(gateway: &Gateway) -> Vec<Value> {
    let response = gateway.get("/.well-known/jwks.json").send().await.expect(200);
    assert_eq!(response.header("cache-control"), "public, max-age=300");
    response.body["keys"].as_array().expect("keys").clone()
}

/// Returns `true` if one of the published keys verifies the token.
fn verifies(keys: &[Value], token: &str) -> bool {
    let kid = kid(token);
    let Some(key) = keys.iter().find(|key| key["kid"] == kid) else {
        return false;
    };
    let (signed, signature) = parts(token);
    match key["kty"].as_str() {
        Some("OKP") => {
            let public: [u8; 32] = decode(&key["x"]).try_into().expect("32 bytes");
            let key = VerifyingKey::from_bytes(&public).expect("a key");
            let signature = Signature::from_slice(&signature).expect("64 bytes");
            key.verify_strict(signed.as_bytes(), &signature).is_ok()
        }
        Some("RSA") => {
            let number = |member: &str| BigUint::from_bytes_be(&decode(&key[member]));
            let key = RsaPublicKey::new(number("n"), number("e")).expect("a key");
            let signature = pkcs1v15::Signature::try_from(signature.as_slice()).expect("a signature");
            pkcs1v15::VerifyingKey::<Sha256>::new(key)
                .verify(signed.as_bytes(), &signature)
                .is_ok()
        }
        other => panic!("{other:?}"),
    }
}

impl TestApp {
    async fn renew(&self, gateway: &Gateway, now: Timestamp) {
        let renewed = gateway.app.tokens().renew(self.database.pool(), now).await;
        renewed.expect("the database is reachable");
    }

    async fn sign_in_as_ada(&self) -> Person {
        let session = self.sign_in("ada").await.expect(201).body;
        Person {
            id: crate::app::uuid(&session["user_id"]),
            token: session["access_token"].as_str().expect("a token").to_owned(),
            refresh: String::new(),
        }
    }
}

#[tokio::test]
async fn a_key_is_published_before_it_signs_and_trusted_after_it_is_replaced() {
    let app = TestApp::start_with(&[("JWT_KEY_DAYS", "30")]).await;
    let other = Gateway::start(&app.database, &[("JWT_KEY_DAYS", "30")]).await;
    let before = app.person("ada").await;
    let old = kid(&before.token);

    let month = Timestamp::now() + 30 * 24 * 60 * MINUTE;
    tokio::join!(app.renew(&app.gateway, month), app.renew(&other, month));
    let keys = published(&app.gateway).await;
    assert_eq!(keys.len(), 2, "two gateways create one new key");
    assert_eq!(published(&other).await, keys);
    assert_eq!(
        kid(&app.sign_in_as_ada().await.token),
        old,
        "the new key is published before it signs"
    );

    app.renew(&app.gateway, month + 10 * MINUTE).await;
    let after = app.sign_in_as_ada().await;
    assert_ne!(kid(&after.token), old);
    let keys = published(&app.gateway).await;
    for person in [&before, &after] {
        assert!(verifies(&keys, &person.token));
        app.gateway.get("/v1/me").by(person).send().await.expect(200);
        other.get("/v1/me").by(person).send().await.expect(200);
    }

    app.renew(&app.gateway, month + 85 * MINUTE).await;
    let keys = published(&app.gateway).await;
    assert_eq!(keys.len(), 1);
    assert!(!verifies(&keys, &before.token) && verifies(&keys, &after.token));
    app.gateway.get("/v1/me").by(&before).send().await.expect(401);
    app.gateway.get("/v1/me").by(&after).send().await.expect(200);
}

#[tokio::test]
async fn configured_keys_sign_with_rs256_and_the_previous_key_is_trusted() {
    let pem = || {
        // The key is small for speed, because it protects nothing.
        let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).expect("a key");
        key.to_pkcs8_pem(LineEnding::LF)
            .expect("the key can be encoded")
            .to_string()
    };
    let (old, new) = (pem(), pem());
    let app = TestApp::start_with(&[("JWT_ALGORITHM", "RS256"), ("JWT_SIGNING_KEY", &old)]).await;
    let ada = app.person("ada").await;
    let keys = published(&app.gateway).await;
    assert_eq!(
        (keys.len(), &keys[0]["alg"], &keys[0]["use"]),
        (1, &"RS256".into(), &"sig".into())
    );
    assert!(verifies(&keys, &ada.token));
    assert!(keys[0].get("d").is_none(), "the private key is not published");

    let settings = [
        ("JWT_ALGORITHM", "RS256"),
        ("JWT_SIGNING_KEY", &new),
        ("JWT_OTHER_KEYS", &old),
    ];
    let next = Gateway::start(&app.database, &settings.map(|(name, value)| (name, value as &str))).await;
    assert_eq!(published(&next).await.len(), 2);
    next.get("/v1/me").by(&ada).send().await.expect(200);
    let alone = [("JWT_ALGORITHM", "RS256"), ("JWT_SIGNING_KEY", new.as_str())];
    let alone = Gateway::start(&app.database, &alone).await;
    assert_eq!(
        alone.get("/v1/me").by(&ada).send().await.expect(401).code(),
        "token-invalid"
    );
}
