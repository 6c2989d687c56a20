//! A forger who has the service's own private key, and uses it to sign tokens that the service
//! would not issue. So each token is rejected for its own defect.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use diesel::prelude::*;
use doorward::database::schema::signing_keys;
use doorward::secret::Purpose;
use serde_json::{Value, json};

use super::jwt::{Jwt, encode};
use super::{TestApp, User};

#[derive(Clone)]
pub struct Forger {
    pub key: PrivateKey,
    /// A valid token of the user.
    pub good: Jwt,
}

impl Forger {
    pub async fn of(user: &User<'_>) -> Self {
        Self { key: PrivateKey::of(user.app).await, good: Jwt::read(&user.tokens.access) }
    }

    /// The same with a key of P-256 that the service does not know.
    pub fn with_another_key(&self) -> Self {
        let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(alg, &SystemRandom::new()).unwrap();
        Self { key: PrivateKey::p256(der.as_ref()), ..self.clone() }
    }

    pub fn sign(&self, token: &Jwt) -> String {
        token.signed(|message| self.key.sign(message)).to_string()
    }

    pub fn with_header(&self, name: &str, value: impl Into<Value>) -> String {
        self.sign(&self.good.with_header(name, value))
    }

    pub fn with_header_text(&self, text: &str) -> String {
        self.sign(&self.good.with_header_text(text))
    }

    pub fn with_claim(&self, name: &str, value: impl Into<Value>) -> String {
        self.sign(&self.good.with_claim(name, value))
    }

    pub fn with_claims_text(&self, text: &str) -> String {
        self.sign(&self.good.with_claims_text(text))
    }
}

#[derive(Clone)]
pub enum PrivateKey {
    Ec(Arc<EcdsaKeyPair>),
    Ed(Arc<Ed25519KeyPair>),
    Rsa(Arc<RsaKeyPair>),
}

impl PrivateKey {
    /// The active key, decrypted with the service's secret.
    async fn of(app: &TestApp) -> Self {
        let active = app.db().read(|c| {
            signing_keys::table
                .filter(signing_keys::state.eq("active"))
                .select((signing_keys::kid, signing_keys::alg, signing_keys::sealed))
                .get_result(c)
        });
        let (kid, alg, sealed): (String, String, Vec<u8>) = active.await.unwrap();
        let secret = app.config.master_secret().unwrap().current;
        let der = secret.derive(Purpose::SigningKeySeal).open(&sealed, kid.as_bytes()).unwrap();
        match alg.as_str() {
            "ES256" => Self::p256(&der),
            "EdDSA" => Self::Ed(Ed25519KeyPair::from_pkcs8(&der).unwrap().into()),
            "RS256" => Self::Rsa(RsaKeyPair::from_pkcs8(&der).unwrap().into()),
            other => panic!("{other}"),
        }
    }

    fn p256(der: &[u8]) -> Self {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
        Self::Ec(key.unwrap().into())
    }

    pub fn sign(&self, message: &str) -> Vec<u8> {
        let (random, message) = (SystemRandom::new(), message.as_bytes());
        match self {
            // Of the two forms of a signature only the one with the smaller s is accepted.
            Self::Ec(key) => loop {
                let signature = key.sign(&random, message).unwrap().as_ref().to_vec();
                if signature[32] < 0x7f {
                    break signature;
                }
            },
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// The public key as a `SubjectPublicKeyInfo` (RFC 5280 4.1.2.7).
    pub fn public(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Ec(key) => key.public_key().as_der().unwrap(),
            Self::Ed(key) => key.public_key().as_der().unwrap(),
            Self::Rsa(key) => key.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    pub fn jwk(&self, kid: &str) -> Value {
        let Self::Ec(key) = self else { panic!("a P-256 key") };
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y), "kid": kid,
                "alg": "ES256", "use": "sig" })
    }
}
