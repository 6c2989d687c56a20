//! The cost of verifying a token in a service, compared with floors measured in the same run on the
//! same machine: the signature alone, and the hash of the token's text alone.
//!
//! `cargo bench --bench verify` takes the median of three runs of each figure; `-- --quick` takes
//! one short run. The list holds 100,000 revoked ids, and each token is looked up in it each time.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measurement")]

#[path = "../tests/verifier/issuer.rs"]
#[expect(dead_code, reason = "the tests share it and use more of it")]
mod issuer;

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_tokens::clock::Clock;
use doorward_verifier::Verifier;
use issuer::{AUDIENCE, CLIENT, Issuer};
use serde_json::Value;

const REVOKED: usize = 100_000;

/// The maximum duration of verifying a token in microseconds: the first time, and later.
const LIMITS: [f64; 2] = [100.0, 2.0];

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let (count, runs) = if is_quick { (2_000, 1) } else { (20_000, 3) };
    let issuer = Issuer::start_with(Clock::system()).await;
    let until = issuer.clock.now().unix_seconds() + 3_600;
    issuer.set(|state| {
        state.revoked = (0..REVOKED).map(|n| (format!("{n:036}"), until)).collect();
    });
    let verifier = Verifier::builder(&issuer.url)
        .audience(AUDIENCE)
        .client(CLIENT.0, CLIENT.1)
        .clock(issuer.clock.clone())
        .cached_tokens(2 * count * runs)
        .start()
        .await
        .unwrap();
    let ready = tokio::time::timeout(Duration::from_secs(60), verifier.ready()).await;
    assert!(ready.is_ok(), "{:?}", verifier.last_error());
    assert!(format!("{verifier:?}").contains(&format!("revocations: {REVOKED}")));

    let mut figures: [Vec<f64>; 4] = Default::default();
    for _ in 0..runs {
        let tokens: Vec<String> = (0..count).map(|_| issuer.token()).collect();
        let verify = |token: &str| drop(black_box(verifier.verify(token).unwrap()));
        // One token repeatedly, so that one-time initialisation is not measured.
        for _ in 0..100 {
            verify(&tokens[0]);
        }
        figures[0].push(micros(&tokens[1..], 1, verify));
        figures[1].push(micros(&tokens, 20, verify));
        figures[2].push(micros(&tokens, 1, signature(&issuer)));
        figures[3].push(micros(&tokens, 20, |token| {
            black_box(digest(&SHA256, token.as_bytes()));
        }));
    }
    let [first, again, signature, hash] = figures.map(median);
    println!("| verify | µs | limit | floor | µs | ratio |");
    println!("| --- | ---: | ---: | --- | ---: | ---: |");
    for (what, time, limit, floor, floor_time) in [
        ("a token seen for the first time", first, LIMITS[0], "ES256 alone", signature),
        ("a token verified before", again, LIMITS[1], "SHA-256 of the token alone", hash),
    ] {
        let ratio = time / floor_time;
        println!("| {what} | {time:.2} | {limit:.0} | {floor} | {floor_time:.2} | {ratio:.2} |");
    }
}

/// Verifies signatures with the underlying library, and does nothing else.
fn signature(issuer: &Issuer) -> impl Fn(&str) + use<> {
    let jwk: Value = serde_json::to_value(issuer.key().jwk()).unwrap();
    let number = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let point = [vec![4], number("x"), number("y")].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    move |token| {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        key.verify(message.as_bytes(), &signature).unwrap();
    }
}

/// The duration of one call, with this many rounds per token.
fn micros(tokens: &[String], rounds: usize, call: impl Fn(&str)) -> f64 {
    let began = Instant::now();
    for _ in 0..rounds {
        for token in tokens {
            call(token);
        }
    }
    let calls = u32::try_from(tokens.len() * rounds).unwrap();
    began.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}

/// The median.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
