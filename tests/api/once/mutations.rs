//! Mutated access tokens: the service accepts none of them.
//!
//! Accepted means that the service knows a user for the text. A text that is identical to an issued
//! token is not a mutation. `DOORWARD_TEST_TOKENS` sets the number of mutations.

use std::cell::Cell;
use std::collections::HashSet;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use doorward::tokens::Algorithm;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{TestError, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::support::TestApp;
use crate::support::jwt::{encode, with_spare_bits};
use crate::support::postgres::number_of;

/// Tokens in one round of tests, unless `DOORWARD_TEST_TOKENS` is set.
const TOKENS: u64 = 5000;

/// The order of P-256, big-endian.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mutated_token_is_accepted() {
    let mut services = Vec::new();
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        services.push(Issued::by(algorithm).await);
    }
    let cases = number_of("DOORWARD_TEST_TOKENS").unwrap_or(TOKENS);
    let tried = tokio::task::block_in_place(|| {
        let tried = Cell::new(0_u64);
        let mut runner = TestRunner::new(ProptestConfig {
            cases: cases.try_into().unwrap(),
            failure_persistence: None,
            // Identical texts are not counted.
            max_global_rejects: u32::MAX,
            ..ProptestConfig::default()
        });
        let changes = prop::collection::vec(change(), 1..4);
        // Most tokens in use are ES256's.
        let service = prop_oneof![4 => Just(0_usize), 1 => Just(1), 1 => Just(2)];
        let verdict = runner.run(&(service, changes), |(service, changes)| {
            let issued = &services[service];
            let mut token = Parts::of(&issued.tokens[0]);
            for change in &changes {
                token.apply_to(change, &issued.tokens);
            }
            let text = token.text();
            prop_assume!(!issued.are.contains(&text));
            tried.set(tried.get() + 1);
            prop_assert!(!issued.accepts(&text), "accepted: {text}");
            Ok(())
        });
        match verdict {
            Ok(()) => tried.get(),
            Err(TestError::Fail(why, case)) => panic!("{why} after {case:?}"),
            Err(TestError::Abort(why)) => panic!("{why}"),
        }
    });
    for issued in &services {
        assert!(issued.tokens.iter().all(|token| issued.accepts(token)), "the service works");
    }
    println!("{tried} mutated tokens, none accepted");
    assert!(tried >= cases / 2);
}

/// A service with some of its tokens. The first is the one that is mutated.
struct Issued {
    app: TestApp,
    tokens: Vec<String>,
    are: HashSet<String>,
}

impl Issued {
    async fn by(algorithm: Algorithm) -> Self {
        let app = TestApp::with(|config| config.tokens.algorithm = algorithm).await;
        let (user, other) = (app.signed_up().await, app.signed_up().await);
        let again = user.another_session().await.access;
        let tokens = vec![user.tokens.access, other.tokens.access, again];
        let are = tokens.iter().cloned().collect();
        let issued = Self { app, tokens, are };
        // They are in the cache of verified signatures.
        assert!(issued.tokens.iter().all(|token| issued.accepts(token)));
        issued
    }

    fn accepts(&self, text: &str) -> bool {
        let answer = self.app.api.sessions.verify_access_token(text);
        tokio::task::block_in_place(|| Handle::current().block_on(answer)).is_ok()
    }
}

/// The texts between the dots.
struct Parts(Vec<String>);

#[derive(Clone, Debug)]
enum Change {
    /// At any position of the text.
    Letter(Index, char),
    Insert(Index, char),
    Remove(Index),
    Truncate(Index),
    Append(String),
    /// In the decoded bytes of a part.
    FlipBit(Index, Index),
    Swap(Index, Index),
    /// A part of another token of the same service.
    Borrow(Index, Index),
    Drop(Index),
    Double(Index),
    /// A member of the header or of the claims.
    Member(bool, &'static str, Option<Value>),
    /// JSON of the same value in another formatting.
    Rewrite(bool, Index),
    /// Another encoding of the same bytes.
    Respell(Index, Index),
    Signature(Index),
    /// By an attacker who has no key of the service.
    Sign(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let letter = || prop_oneof!["[A-Za-z0-9_.=-]", any::<char>().prop_map(String::from)];
    let letter = move || letter().prop_map(|text| text.chars().next().unwrap());
    prop_oneof![
        2 => (at(), letter()).prop_map(|(place, letter)| Change::Letter(place, letter)),
        1 => (at(), letter()).prop_map(|(place, letter)| Change::Insert(place, letter)),
        1 => at().prop_map(Change::Remove),
        1 => at().prop_map(Change::Truncate),
        1 => "[A-Za-z0-9_.= -]{1,20}".prop_map(Change::Append),
        4 => (at(), at()).prop_map(|(part, bit)| Change::FlipBit(part, bit)),
        1 => (at(), at()).prop_map(|(one, other)| Change::Swap(one, other)),
        2 => (at(), at()).prop_map(|(part, token)| Change::Borrow(part, token)),
        1 => at().prop_map(Change::Drop),
        1 => at().prop_map(Change::Double),
        4 => member(),
        1 => (any::<bool>(), at()).prop_map(|(header, how)| Change::Rewrite(header, how)),
        1 => (at(), at()).prop_map(|(part, how)| Change::Respell(part, how)),
        4 => at().prop_map(Change::Signature),
        4 => at().prop_map(Change::Sign),
    ]
}

fn member() -> impl Strategy<Value = Change> {
    let header = prop::sample::select(vec!["typ", "alg", "kid", "crit", "b64", "jwk", "x"]);
    let claim = prop::sample::select(vec![
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "jti",
        "client_id",
        "sid",
        "scope",
        "roles",
        "nbf",
    ]);
    let name =
        prop_oneof![header.prop_map(|name| (true, name)), claim.prop_map(|name| (false, name))];
    let value = prop_oneof![
        Just(None),
        "[a-z0-9]{0,8}".prop_map(|text| Some(json!(text))),
        prop::sample::select(vec![
            json!(null),
            json!("none"),
            json!("ES256"),
            json!("HS256"),
            json!(["admin"]),
            json!(4_000_000_000_i64),
            json!(0),
            json!("019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75"),
        ])
        .prop_map(Some),
    ];
    (name, value).prop_map(|((header, name), value)| Change::Member(header, name, value))
}

impl Parts {
    fn of(text: &str) -> Self {
        Self(text.split('.').map(str::to_owned).collect())
    }

    fn text(&self) -> String {
        self.0.join(".")
    }

    fn apply_to(&mut self, change: &Change, tokens: &[String]) {
        let mut letters: Vec<char> = self.text().chars().collect();
        let count = letters.len().max(1);
        let number = self.0.len();
        match change {
            Change::Letter(at, letter) if !letters.is_empty() => letters[at.index(count)] = *letter,
            Change::Insert(at, letter) => letters.insert(at.index(letters.len() + 1), *letter),
            Change::Remove(at) if !letters.is_empty() => drop(letters.remove(at.index(count))),
            Change::Truncate(at) => letters.truncate(at.index(count)),
            Change::Append(more) => letters.extend(more.chars()),
            Change::Letter(..) | Change::Remove(_) => {}
            _ => {
                self.apply_to_parts(change, tokens, number);
                return;
            }
        }
        *self = Self::of(&letters.into_iter().collect::<String>());
    }

    fn apply_to_parts(&mut self, change: &Change, tokens: &[String], number: usize) {
        match change {
            Change::FlipBit(part, bit) => self.in_bytes(part.index(number), |bytes| {
                if !bytes.is_empty() {
                    let bit = bit.index(bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }),
            Change::Swap(one, other) => self.0.swap(one.index(number), other.index(number)),
            Change::Borrow(part, token) => {
                let part = part.index(number.min(3));
                let other = Self::of(&tokens[token.index(tokens.len())]);
                self.0[part].clone_from(&other.0[part]);
            }
            Change::Drop(part) if number > 1 => drop(self.0.remove(part.index(number))),
            Change::Double(part) => {
                let part = part.index(number);
                self.0.insert(part, self.0[part].clone());
            }
            Change::Member(header, name, value) => self.in_json(usize::from(!header), |object| {
                match value {
                    Some(value) => object[name] = value.clone(),
                    None => drop(object.as_object_mut().unwrap().remove(*name)),
                }
                object.to_string()
            }),
            Change::Rewrite(header, how) => self.in_json(usize::from(!header), |object| {
                let text = object.to_string();
                let first = object.as_object().unwrap().iter().next();
                let (name, value) =
                    first.map_or(("x".into(), json!(1)), |(n, v)| (n.clone(), v.clone()));
                match how.index(4) {
                    0 => format!("{text} "),
                    1 => serde_json::to_string_pretty(object).unwrap(),
                    2 => format!("{{\"{name}\":{value},{}", &text[1..]),
                    _ => text.replacen(
                        &name,
                        &format!("\\u{:04x}", u32::from(name.as_bytes()[0])),
                        1,
                    ),
                }
            }),
            Change::Respell(part, how) => {
                let part = &mut self.0[part.index(number)];
                let bytes = URL_SAFE_NO_PAD.decode(&*part).unwrap_or_default();
                *part = match how.index(6) {
                    0 => URL_SAFE.encode(bytes),
                    1 => STANDARD.encode(bytes),
                    2 => format!("{part}="),
                    3 => format!(" {part}"),
                    4 => format!("{part}\n"),
                    _ => with_spare_bits(part),
                };
            }
            Change::Signature(how) if number > 2 => {
                self.in_bytes(2, |bytes| *bytes = odd_signature(bytes, how.index(14)));
            }
            Change::Sign(who) => {
                let message = self.0[..number.min(2)].join(".");
                let signature = by_a_stranger(message.as_bytes(), who.index(5));
                self.0.resize(3, String::new());
                self.0[2] = encode(signature);
            }
            _ => {}
        }
    }

    /// Changes the decoded bytes of a part, if it can be decoded.
    fn in_bytes(&mut self, part: usize, change: impl FnOnce(&mut Vec<u8>)) {
        if let Ok(mut bytes) = URL_SAFE_NO_PAD.decode(&self.0[part]) {
            change(&mut bytes);
            self.0[part] = encode(bytes);
        }
    }

    fn in_json(&mut self, part: usize, change: impl FnOnce(&mut Value) -> String) {
        let Some(text) = self.0.get(part).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()) else {
            return;
        };
        if let Ok(mut object @ Value::Object(_)) = serde_json::from_slice(&text) {
            self.0[part] = encode(change(&mut object));
        }
    }
}

/// Signatures that an attacker can compute from a valid one without the key.
fn odd_signature(good: &[u8], how: usize) -> Vec<u8> {
    let half = good.len() / 2;
    let (r, s) = good.split_at(half);
    let zero = vec![0; half];
    let negated = |number: &[u8]| difference(&ORDER, number);
    match how {
        0 => [r, &negated(s)].concat(),
        1 => [&negated(r)[..], s].concat(),
        2 => [negated(r), negated(s)].concat(),
        3 => [s, r].concat(),
        4 => [&zero[..], s].concat(),
        5 => [r, &zero].concat(),
        6 => [&ORDER[..], s].concat(),
        7 => [r, &ORDER].concat(),
        8 => vec![0xff; good.len()],
        9 => Vec::new(),
        10 => [good, &[0]].concat(),
        11 => [&[0], good].concat(),
        12 => [&[0x30, 0x44, 0x02, 0x20], r, &[0x02, 0x20], s].concat(),
        _ => good.iter().rev().copied().collect(),
    }
}

/// `from` − `number`, modulo the length of `number`.
fn difference(from: &[u8], number: &[u8]) -> Vec<u8> {
    let mut result = number.to_vec();
    let mut borrow = 0;
    for (digit, from) in result.iter_mut().rev().zip(from.iter().rev()) {
        let rest = i16::from(*from) - i16::from(*digit) - borrow;
        borrow = i16::from(rest < 0);
        *digit = u8::try_from(rest.rem_euclid(256)).unwrap();
    }
    result
}

fn by_a_stranger(message: &[u8], who: usize) -> Vec<u8> {
    thread_local! {
        static EC: EcdsaKeyPair =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        static ED: Ed25519KeyPair = Ed25519KeyPair::generate().unwrap();
    }
    let mac =
        |key: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec();
    match who {
        0 | 1 => EC.with(|key| key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()),
        2 => ED.with(|key| key.sign(message).as_ref().to_vec()),
        3 => mac(b""),
        _ => EC.with(|key| mac(key.public_key().as_ref())),
    }
}
