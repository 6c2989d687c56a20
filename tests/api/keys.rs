//! The life cycle of signing keys: published before they sign, kept until their last token has
//! expired, and revoked at once when compromised.

use std::time::Duration;

use doorward::clock::Timestamp;
use jsonwebtoken::jwk::JwkSet;
use serde_json::Value;

use crate::support::binary::{Doorward, printed, run, unlimited};
use crate::support::client::PASSWORD;
use crate::support::keys::{kid_of, revoke_key};
use crate::support::{Answer, TestApp, until};

/// The seconds between two refreshes in the first test below.
const STEP: u64 = 2;

#[tokio::test]
async fn a_client_that_caches_the_key_set_as_it_says_can_verify_every_token() {
    let app = TestApp::with(|config| config.sessions.retry_window = Duration::ZERO).await;
    let mut user = app.signed_up().await;
    let mut caches = Vec::new();
    let mut signed_by = Vec::new();
    for step in 0..1000 {
        if step % 30 == 0 {
            // As the service does once a minute.
            app.api.keys.maintain().await.unwrap();
        }
        if step == 100 {
            let next = app.api.keys.admin().rotate().await.unwrap();
            assert_eq!(next.state, "next");
            // A second call changes nothing.
            assert_eq!(app.api.keys.admin().rotate().await.unwrap().kid, next.kid);
        }
        if caches.len() < 12 && step % 25 == 0 {
            caches.push(Cache::fetch(&app).await);
        }
        user.refresh().await.assert_status(200);
        for cache in &mut caches {
            let kid = cache.verify(&app, &user.tokens.access).await;
            if signed_by.last() != Some(&kid) {
                signed_by.push(kid);
            }
        }
        app.advance(STEP);
    }
    assert_eq!(signed_by.len(), 2, "it took over in between, once: {signed_by:?}");
    let left: Vec<String> =
        app.api.keys.admin().list().await.unwrap().into_iter().map(|key| key.state).collect();
    assert_eq!(left, ["active"], "the previous key is removed");
}

#[tokio::test]
async fn a_revoked_key_is_rejected_at_once_and_another_signs() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    // From here on its signature is cached, which must not help.
    user.me().await.assert_status(200);
    let kid = kid_of(&user.tokens.access);
    assert_eq!(revoke_key(&app, &kid).await.as_deref(), Some(app.api.keys.signing().kid()));
    user.me().await.assert_problem(401, "invalid_token");
    // The session continues, and new ones work.
    user.refresh().await.assert_status(200);
    assert_ne!(kid_of(&user.tokens.access), kid);
    user.me().await.assert_status(200);
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
    let published = app.get("/.well-known/jwks.json").send().await.text;
    assert!(!published.contains(&kid), "{published}");
    assert_eq!(revoke_key(&app, &kid).await, None, "it is gone already");
    assert_eq!(revoke_key(&app, "no-such-key").await, None);
}

#[tokio::test]
async fn the_next_key_replaces_a_revoked_one() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let next = app.api.keys.admin().rotate().await.unwrap().kid;
    assert_eq!(revoke_key(&app, &kid_of(&user.tokens.access)).await, Some(next));
}

#[tokio::test]
async fn the_commands_work_while_the_service_runs() {
    let home = tempfile::tempdir().unwrap();
    let service = Doorward::start(&mut unlimited(home.path()));
    let key = |arguments: &[&str]| {
        printed(unlimited(home.path()).arg("key").args(arguments).arg("--json"))
    };
    let json = |arguments: &[&str]| serde_json::from_str::<Value>(&key(arguments)).unwrap();
    let states = || -> Vec<(String, String)> {
        let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
        let keys = json(&["list"]);
        keys.as_array().unwrap().iter().map(|key| (text(key, "state"), text(key, "kid"))).collect()
    };
    service.register("ada@example.com", PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in("ada@example.com", PASSWORD).await.unwrap().tokens();
    let kid = kid_of(&tokens.access);
    assert_eq!(states(), [("active".into(), kid.clone())]);

    // Listing changes nothing, even with other settings in this shell.
    let other = [("DOORWARD_TOKENS__ALGORITHM", "EdDSA")];
    printed(unlimited(home.path()).envs(other).args(["key", "list"]));
    assert_eq!(states(), [("active".into(), kid.clone())]);

    // In order: a successor is published, and the key continues to sign meanwhile.
    let next = json(&["retire", &kid])["kid"].as_str().unwrap().to_owned();
    assert_eq!(states(), [("next".into(), next.clone()), ("active".into(), kid.clone())]);
    assert_eq!(json(&["rotate"])["kid"], *next);
    json(&["retire", &next]);
    assert_eq!(states(), [("active".into(), kid.clone())]);
    service.me(&tokens.access).await.unwrap().assert_status(200);

    // At once.
    let signing = json(&["revoke", &kid])["signing"].as_str().unwrap().to_owned();
    assert_eq!(states(), [("active".into(), signing.clone())]);
    until(async || service.me(&tokens.access).await.unwrap().status == 401).await;
    let again = service.refresh(&tokens.refresh, "a-key-of-the-tests-own").await.unwrap().tokens();
    until(async || {
        let fresh = service.log_in("ada@example.com", PASSWORD).await.unwrap().tokens();
        kid_of(&fresh.access) == signing
    })
    .await;
    let again = service.refresh(&again.refresh, "another-key-of-theirs").await.unwrap().tokens();
    service.me(&again.access).await.unwrap().assert_status(200);

    // A `kid` may begin like an option.
    for unknown in ["no-such-key", "-u5X0a0uZkq", "-_5X0a0uZkq", "--5X0a0uZkq"] {
        let refused = run(unlimited(home.path()).args(["key", "revoke", unknown]));
        assert_eq!(refused.status.code(), Some(1), "{unknown}: {}", refused.stderr);
        assert!(refused.stderr.contains("`doorward key list` shows"), "{}", refused.stderr);
    }
}

/// A key set, kept as long as its headers allow and no longer.
struct Cache {
    set: JwkSet,
    until: Timestamp,
}

impl Cache {
    async fn fetch(app: &TestApp) -> Self {
        let answer = app.get("/.well-known/jwks.json").send().await.assert_status(200);
        let max_age = max_age(&answer);
        let set = serde_json::from_value(answer.body).unwrap();
        Self { set, until: app.clock.now().plus(max_age) }
    }

    /// Verifies a token as a library does, and returns the key that signed it.
    async fn verify(&mut self, app: &TestApp, token: &str) -> String {
        if app.clock.now() >= self.until {
            *self = Self::fetch(app).await;
        }
        let kid = kid_of(token);
        let known = self.set.find(&kid).unwrap_or_else(|| panic!("{kid} is not in the key set"));
        let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
        rules.set_audience(&["doorward"]);
        // The test's clock is not the machine's.
        rules.validate_exp = false;
        let key = jsonwebtoken::DecodingKey::from_jwk(known).unwrap();
        jsonwebtoken::decode::<Value>(token, &key, &rules).unwrap();
        kid
    }
}

fn max_age(answer: &Answer) -> Duration {
    let cache = answer.header("cache-control").unwrap();
    let seconds = cache.split(", ").find_map(|part| part.strip_prefix("max-age=")).unwrap();
    Duration::from_secs(seconds.parse().unwrap())
}
