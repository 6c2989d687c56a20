//! Limits, by going over them: requests by address, wrong passwords by account, hashes by time.

use std::time::Duration;

use doorward::config::Config;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::app::{COSTLY_KIB, CROWD, behind_a_proxy};
use crate::support::{Answer, PASSWORD, TestApp, Tokens, until};

const NEW_PASSWORD: &str = "nine herons borrow umbrellas";
const WRONG: &str = "not my password at all";

/// Where the owner of an account is at home.
const HOME: &str = "203.0.113.7";
/// Where nobody of interest is.
const ELSEWHERE: &str = "192.0.2.1";

#[tokio::test]
async fn an_address_has_so_many_requests_with_a_password() {
    let app = TestApp::with(|config| {
        behind_a_proxy(config);
        config.limits.login_burst = 4;
        config.limits.login_per_minute = 1;
    })
    .await;
    let user = app.signed_up().await;
    app.log_in(&user.email, WRONG).await.assert_status(401);
    app.log_in("nobody@example.com", WRONG).await.assert_status(401);
    user.change_password(WRONG, NEW_PASSWORD).await.assert_status(403);

    let before = app.hashed();
    let refused = app.log_in(&user.email, PASSWORD).await;
    assert_eq!(refused.body["error"], "temporarily_unavailable");
    for refused in [
        refused,
        user.change_password(PASSWORD, NEW_PASSWORD).await,
        user.close(PASSWORD).await,
        app.post("/login").body("application/json", "{").send().await,
    ] {
        let refused = refused.assert_problem(429, "rate_limited");
        assert_eq!(refused.body["transient"], true);
        assert!((1..=60).contains(&retry_after(&refused)));
    }
    assert_eq!(app.hashed(), before, "nothing was hashed");
    app.call("GET", "/login").send().await.assert_status(405);

    log_in_from(&app, ELSEWHERE, &user.email, PASSWORD).await.assert_status(200);
    user.me().await.assert_status(200);
    app.refresh(&user.tokens.refresh).await.assert_status(200);
    app.register("ada@example.com", PASSWORD).await.assert_status(201);
}

#[tokio::test]
async fn an_address_has_so_many_registrations() {
    let app = TestApp::with(|config| {
        behind_a_proxy(config);
        config.limits.register_burst = 3;
        config.limits.register_per_minute = 1;
    })
    .await;
    app.register("ada@example.com", PASSWORD).await.assert_status(201);
    app.register("ada@example.com", PASSWORD).await.assert_status(409);
    app.register("ada", PASSWORD).await.assert_status(422);
    let refused = app.register("bob@example.com", PASSWORD).await;
    let refused = refused.assert_problem(429, "rate_limited");
    assert!((1..=60).contains(&retry_after(&refused)));

    app.log_in("ada@example.com", PASSWORD).await.assert_status(200);
    let body = json!({ "email": "bob@example.com", "password": PASSWORD });
    let request = app.post("/register").header("x-forwarded-for", ELSEWHERE).json(&body);
    request.send().await.assert_status(201);
}

#[tokio::test]
async fn an_ipv6_network_is_one_client() {
    let app = TestApp::with(|config| {
        behind_a_proxy(config);
        config.limits.login_burst = 2;
        config.limits.login_per_minute = 1;
        config.limits.failed_logins_per_address = 1;
    })
    .await;
    let guess = async |address: &str, email: &str| log_in_from(&app, address, email, WRONG).await;
    guess("2001:db8:0:1::1", "ada@example.com").await.assert_status(401);
    let refused = guess("2001:db8:0:1:ffff::2", "ada@example.com").await;
    refused.assert_problem(429, "too_many_failed_logins");
    guess("2001:db8:0:1::3", "bob@example.com").await.assert_problem(429, "rate_limited");
    guess("2001:db8:0:2::1", "ada@example.com").await.assert_status(401);
    // An IPv4 address is the same in both of its spellings.
    guess("192.0.2.9", "ada@example.com").await.assert_status(401);
    let refused = guess("::ffff:192.0.2.9", "ada@example.com").await;
    refused.assert_problem(429, "too_many_failed_logins");
}

#[tokio::test]
async fn an_untrusted_peer_cannot_forge_its_address() {
    let app = TestApp::with(|config| {
        config.limits.login_burst = 3;
        config.limits.login_per_minute = 1;
        config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    })
    .await;
    for n in 0..3 {
        let answer = log_in_from(&app, &format!("192.0.2.{n}"), "ada@example.com", WRONG).await;
        answer.assert_status(401);
    }
    let refused = log_in_from(&app, "192.0.2.3", "ada@example.com", WRONG).await;
    refused.assert_problem(429, "rate_limited");
}

#[tokio::test]
async fn behind_a_proxy_only_the_rightmost_foreign_address_counts() {
    let app = TestApp::with(|config| {
        behind_a_proxy(config);
        config.limits.login_burst = 3;
        config.limits.login_per_minute = 1;
    })
    .await;
    for n in 0..3 {
        let forwarded = format!("198.51.100.{n}, {ELSEWHERE}, 127.0.0.1");
        log_in_from(&app, &forwarded, "ada@example.com", WRONG).await.assert_status(401);
    }
    let refused = log_in_from(&app, "198.51.100.3, 192.0.2.1", "ada@example.com", WRONG).await;
    refused.assert_problem(429, "rate_limited");
}

#[tokio::test]
async fn a_hundred_parallel_guesses_count_as_a_hundred() {
    let app = TestApp::with(patient).await;
    let user = app.signed_up().await;
    let before = app.hashed();
    let answers = join_all((0..100).map(|_| app.log_in(&user.email, WRONG))).await;
    assert_eq!(app.hashed() - before, 10, "as many as failed_logins_per_address");
    let (guesses, refused): (Vec<Answer>, Vec<Answer>) =
        answers.into_iter().partition(|answer| answer.status == 401);
    assert_eq!(guesses.len(), 10);
    for answer in refused {
        assert!(matches!(answer.status, 429 | 503), "{answer:?}");
        assert!(retry_after(&answer) >= 1);
        assert_eq!(answer.body["transient"] == true, answer.status == 503);
    }
    let refused = app.log_in(&user.email, PASSWORD).await;
    refused.assert_problem(429, "too_many_failed_logins");
    assert_eq!(app.hashed() - before, 10, "the right password is not even looked at");
}

#[tokio::test]
async fn a_hundred_parallel_guesses_from_everywhere_count_as_a_hundred() {
    let app = TestApp::with(|config| {
        behind_a_proxy(config);
        patient(config);
        config.limits.failed_logins_per_account = 20;
    })
    .await;
    let user = app.signed_up().await;
    let before = app.hashed();
    let addresses: Vec<String> = (0..100).map(|n| format!("198.51.100.{n}")).collect();
    let answers =
        join_all(addresses.iter().map(|address| log_in_from(&app, address, &user.email, WRONG)));
    let answers = answers.await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 20);
    assert!(answers.iter().all(|answer| matches!(answer.status, 401 | 429 | 503)), "{answers:?}");
    assert_eq!(app.hashed() - before, 100, "eighty of them compared with nothing");
    let refused = log_in_from(&app, ELSEWHERE, &user.email, PASSWORD).await;
    refused.assert_problem(429, "too_many_failed_logins");
}

#[tokio::test]
async fn another_form_of_the_address_has_the_same_limit() {
    let app = TestApp::with(|config| config.limits.failed_logins_per_address = 4).await;
    app.register("ada@example.com", PASSWORD).await.assert_status(201);
    for email in ["ada@example.com", "ADA@example.com", " ada@example.com", "Ada@Example.Com\n"] {
        app.log_in(email, WRONG).await.assert_status(401);
    }
    for email in ["ada@example.com", "aDa@example.com", "\tada@example.com  "] {
        app.log_in(email, PASSWORD).await.assert_problem(429, "too_many_failed_logins");
    }
    // A look-alike is somebody else.
    app.log_in("\u{430}da@example.com", WRONG).await.assert_status(401);
}

#[tokio::test]
async fn unknown_addresses_count_like_known_ones() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let disabled = app.signed_up().await;
    let id = crate::support::id(&disabled.id);
    assert!(app.api.accounts.disable(id).await.unwrap());
    let mut refusals = Vec::new();
    for (email, password) in [
        (user.email.as_str(), WRONG),
        ("nobody@example.com", PASSWORD),
        ("nobody", WRONG),
        (&disabled.email, PASSWORD),
    ] {
        for _ in 0..10 {
            app.log_in(email, password).await.assert_problem(401, "invalid_credentials");
        }
        let refused = app.log_in(email, password).await;
        let mut refused = refused.assert_problem(429, "too_many_failed_logins");
        refused.body.as_object_mut().unwrap().remove("request_id");
        refusals.push((retry_after(&refused), refused.body));
    }
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:#?}");
}

#[tokio::test]
async fn an_exhausted_limit_refills_evenly_and_sends_retry_after() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for _ in 0..10 {
        app.log_in(&user.email, WRONG).await.assert_status(401);
    }
    let refused = app.log_in(&user.email, PASSWORD).await;
    let wait = retry_after(&refused.assert_problem(429, "too_many_failed_logins"));
    assert!((90..=91).contains(&wait), "a tenth of 15 minutes, not {wait} s");
    app.advance(wait - 2);
    app.log_in(&user.email, PASSWORD).await.assert_status(429);
    app.advance(2);
    app.log_in(&user.email, WRONG).await.assert_status(401);
    app.log_in(&user.email, PASSWORD).await.assert_status(429);
    app.advance(900);
    for _ in 0..10 {
        app.log_in(&user.email, WRONG).await.assert_status(401);
    }
    app.log_in(&user.email, PASSWORD).await.assert_status(429);
}

#[tokio::test]
async fn the_right_password_releases_its_reservation_and_resets_no_failures() {
    let app = TestApp::with(|config| {
        config.limits.failed_logins_per_address = 3;
        config.limits.failed_logins_per_account = 3;
    })
    .await;
    let user = app.signed_up().await;
    for _ in 0..10 {
        user.another_session().await;
    }
    app.log_in(&user.email, WRONG).await.assert_status(401);
    app.log_in(&user.email, WRONG).await.assert_status(401);
    user.another_session().await;
    app.log_in(&user.email, WRONG).await.assert_status(401);
    app.log_in(&user.email, PASSWORD).await.assert_problem(429, "too_many_failed_logins");
}

#[tokio::test]
async fn parallel_logins_with_the_right_password_spend_nothing() {
    let app = TestApp::with(patient).await;
    let user = app.signed_up().await;
    let answers = join_all((0..10).map(|_| app.log_in(&user.email, PASSWORD))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    for _ in 0..10 {
        app.log_in(&user.email, WRONG).await.assert_status(401);
    }
    app.log_in(&user.email, WRONG).await.assert_status(429);
}

#[tokio::test]
async fn strangers_from_everywhere_can_neither_guess_on_nor_lock_the_owner_out() {
    let app = TestApp::with(under_attack).await;
    let (email, tokens) = signed_up_at_home(&app).await;
    let (_, others_tokens) = signed_up_at_home(&app).await;
    spend_the_budget(&app, &email).await;

    let before = app.hashed();
    let refused = log_in_from(&app, ELSEWHERE, &email, PASSWORD).await;
    let refused = refused.assert_problem(429, "too_many_failed_logins");
    assert!(retry_after(&refused) >= 1);
    for token in [&others_tokens.refresh, &tokens.access, &tokens.refresh[..50], "dwr_", ""] {
        let refused = log_in_with_device(&app, ELSEWHERE, &email, PASSWORD, token).await;
        refused.assert_problem(429, "too_many_failed_logins");
    }
    // Theirs are compared with nothing, for as long as their network has guesses left.
    assert_eq!(app.hashed() - before, 6);

    log_in_from(&app, HOME, &email, PASSWORD).await.assert_status(200);
    let known = log_in_with_device(&app, ELSEWHERE, &email, PASSWORD, &tokens.refresh).await;
    known.assert_status(200);
    // Elsewhere has become a known address by that.
    log_in_from(&app, ELSEWHERE, &email, PASSWORD).await.assert_status(200);
    app.me(&tokens.access).await.assert_status(200);
    app.refresh(&tokens.refresh).await.assert_status(200);
}

#[tokio::test]
async fn the_owner_gets_in_while_strangers_guesses_are_still_being_hashed() {
    let app = TestApp::with(|config| {
        under_attack(config);
        patient(config);
        config.passwords.memory_kib = COSTLY_KIB;
        config.passwords.threads = 1;
    })
    .await;
    let (email, _) = signed_up_at_home(&app).await;
    let before = app.hashed();
    let addresses: Vec<String> = (0..20).map(|n| format!("198.51.100.{n}")).collect();
    let strangers = addresses.iter().map(|address| log_in_from(&app, address, &email, WRONG));
    let (guesses, (stranger, owner)) = tokio::join!(join_all(strangers), async {
        let hasher = app.api.accounts.hasher();
        until(async || app.hashed() - before + hasher.waiting() as u64 >= 20).await;
        tokio::join!(
            log_in_from(&app, ELSEWHERE, &email, PASSWORD),
            log_in_from(&app, HOME, &email, PASSWORD),
        )
    });
    assert!(guesses.iter().all(|guess| guess.status == 401));
    assert!(matches!(stranger.status, 429 | 503), "{stranger:?}");
    owner.assert_status(200);
}

#[tokio::test]
async fn an_earlier_token_of_the_account_is_a_known_device_unless_its_session_ended_by_reuse() {
    let app = TestApp::with(under_attack).await;
    let (email, spent) = signed_up_at_home(&app).await;
    let log_in = async || log_in_from(&app, HOME, &email, PASSWORD).await.tokens();
    let (logged_out, reused, live) = (log_in().await, log_in().await, log_in().await);

    let mut last = spent.refresh.clone();
    for _ in 0..3 {
        last = app.refresh(&last).await.tokens().refresh;
        app.advance(31);
    }
    app.post("/logout").bearer(&logged_out.access).send().await.assert_status(204);
    let mut last = reused.refresh.clone();
    for _ in 0..2 {
        last = app.refresh(&last).await.tokens().refresh;
        app.advance(31);
    }
    app.refresh(&reused.refresh).await.assert_ended("refresh_token_reused");

    app.advance(31 * 86400);
    app.refresh(&live.refresh).await.assert_ended("expired");
    spend_the_budget(&app, &email).await;
    for (n, (token, status)) in
        [(spent, 200), (logged_out, 200), (reused, 429), (live, 200)].iter().enumerate()
    {
        let address = format!("192.0.2.{n}");
        log_in_from(&app, &address, &email, PASSWORD).await.assert_status(429);
        let known = log_in_with_device(&app, &address, &email, PASSWORD, &token.refresh).await;
        known.assert_status(*status);
    }
}

#[tokio::test]
async fn a_known_device_has_a_limit_of_its_own() {
    let app = TestApp::with(under_attack).await;
    let (email, one) = signed_up_at_home(&app).await;
    let other = log_in_from(&app, HOME, &email, PASSWORD).await.tokens();
    spend_the_budget(&app, &email).await;
    let before = app.hashed();
    for n in 0..20 {
        let address = format!("192.0.2.{n}");
        let answer = log_in_with_device(&app, &address, &email, WRONG, &one.refresh).await;
        answer.assert_status(if n < 10 { 401 } else { 429 });
    }
    assert_eq!(app.hashed() - before, 20, "half of them compared with nothing");
    let refused = log_in_with_device(&app, ELSEWHERE, &email, PASSWORD, &one.refresh).await;
    refused.assert_problem(429, "too_many_failed_logins");
    let known = log_in_with_device(&app, ELSEWHERE, &email, PASSWORD, &other.refresh).await;
    known.assert_status(200);
}

#[tokio::test]
async fn a_known_address_has_a_limit_of_its_own() {
    let app = TestApp::with(under_attack).await;
    let (email, _) = signed_up_at_home(&app).await;
    spend_the_budget(&app, &email).await;
    for _ in 0..9 {
        log_in_from(&app, HOME, &email, WRONG).await.assert_status(429);
    }
    log_in_from(&app, HOME, &email, PASSWORD).await.assert_status(200);
    let before = app.hashed();
    for n in 0..10 {
        log_in_from(&app, HOME, &email, WRONG).await.assert_status(429);
        assert_eq!(app.hashed() - before, 1, "{n}: it has ten wrong ones, and that was the last");
    }
    log_in_from(&app, HOME, &email, PASSWORD).await.assert_status(429);
}

#[tokio::test]
async fn an_address_is_known_by_its_sessions_of_ninety_days_that_did_not_end_for_suspicion() {
    let app = TestApp::with(under_attack).await;
    let (email, tokens) = signed_up_at_home(&app).await;
    let at = async |address: &str| log_in_from(&app, address, &email, PASSWORD).await;
    let may_still = async |address: &str| {
        spend_the_budget(&app, &email).await;
        let status = at(address).await.status;
        // Whole again.
        app.advance(900);
        status == 200
    };
    app.post("/logout").bearer(&tokens.access).send().await.assert_status(204);
    assert!(may_still(HOME).await, "after a logout");

    let stolen = at("203.0.113.8").await.tokens();
    let mut last = stolen.refresh.clone();
    for _ in 0..2 {
        let body = json!({ "refresh_token": last });
        let request = app.post("/refresh").header("x-forwarded-for", "203.0.113.8").json(&body);
        last = request.send().await.tokens().refresh;
        app.advance(31);
    }
    app.refresh(&stolen.refresh).await.assert_ended("refresh_token_reused");
    assert!(!may_still("203.0.113.8").await, "after a reuse");

    at("203.0.113.9").await.assert_status(200);
    let present = at("203.0.113.10").await.tokens();
    let body = json!({ "current_password": PASSWORD, "new_password": format!("{PASSWORD}!") });
    let request = app.post("/me/password").header("x-forwarded-for", "203.0.113.11");
    let changed = request.bearer(&present.access).json(&body).send().await;
    changed.assert_status(200);
    let body = json!({ "current_password": format!("{PASSWORD}!"), "new_password": PASSWORD });
    let tokens = log_in_from(&app, "203.0.113.12", &email, &format!("{PASSWORD}!")).await.tokens();
    let request = app.post("/me/password").header("x-forwarded-for", "203.0.113.13");
    let changed = request.bearer(&tokens.access).json(&body).send().await.tokens();
    for address in ["203.0.113.9", "203.0.113.10", "203.0.113.11", "203.0.113.12"] {
        assert!(!may_still(address).await, "{address}, after a change of password");
    }
    // The logout of the first session came before the change, and nothing was suspicious about it.
    assert!(may_still(HOME).await, "still");
    assert!(may_still("203.0.113.13").await, "where the change was made");

    let at_home = log_in_from(&app, "203.0.113.20", &email, PASSWORD).await.tokens();
    app.post("/logout").bearer(&at_home.access).send().await.assert_status(204);
    app.advance(90 * 86400 - 1);
    spend_the_budget(&app, &email).await;
    at("203.0.113.20").await.assert_status(200);
    app.advance(90 * 86400);
    spend_the_budget(&app, &email).await;
    at("203.0.113.20").await.assert_problem(429, "too_many_failed_logins");
    let known = log_in_with_device(&app, ELSEWHERE, &email, PASSWORD, &changed.refresh).await;
    known.assert_status(200);
}

#[tokio::test]
async fn every_password_endpoint_shares_the_limit() {
    let app = TestApp::with(|config| {
        behind_a_proxy(config);
        config.limits.failed_logins_per_address = 6;
        config.limits.failed_logins_per_account = 6;
    })
    .await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    for _ in 0..3 {
        user.change_password(WRONG, NEW_PASSWORD).await.assert_problem(403, "wrong_password");
        user.close(WRONG).await.assert_problem(403, "wrong_password");
    }
    // The session's own six are used up. Then come those of its network, which is known; a wrong
    // one is answered there as everywhere else.
    let before = app.hashed();
    for _ in 0..3 {
        user.change_password(WRONG, NEW_PASSWORD).await.assert_status(429);
        user.close(WRONG).await.assert_status(429);
    }
    assert_eq!(app.hashed() - before, 6);
    let before = app.hashed();
    for refused in [
        user.change_password(PASSWORD, NEW_PASSWORD).await,
        user.close(PASSWORD).await,
        app.log_in(&user.email, PASSWORD).await,
    ] {
        assert!(retry_after(&refused.assert_problem(429, "too_many_failed_logins")) >= 1);
    }
    assert_eq!(app.hashed(), before);
    // They count for the account, so a stranger has no budget left.
    let refused = log_in_from(&app, ELSEWHERE, &user.email, PASSWORD).await;
    refused.assert_problem(429, "too_many_failed_logins");
    user.me().await.assert_status(200);
    // Whoever holds only an access token cannot use up what the device has.
    log_in_with_device(&app, ELSEWHERE, &user.email, PASSWORD, &user.tokens.refresh)
        .await
        .assert_status(200);
    // Another device of the owner is not concerned.
    let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
    let request = app.post("/me/password").bearer(&other.access).json(&body);
    request.send().await.assert_status(200);
}

#[tokio::test]
async fn parallel_guesses_at_the_present_password_count_each() {
    let app = TestApp::with(patient).await;
    let user = app.signed_up().await;
    let before = app.hashed();
    join_all((0..25).map(|_| user.change_password(WRONG, NEW_PASSWORD))).await;
    join_all((0..25).map(|_| user.close(WRONG))).await;
    assert_eq!(app.hashed() - before, 20, "ten for the session, and ten for its network");
}

#[tokio::test]
async fn a_change_of_password_that_is_right_spends_nothing() {
    let app = TestApp::with(|config| config.limits.failed_logins_per_address = 2).await;
    let mut user = app.signed_up().await;
    for _ in 0..3 {
        user.tokens = user.change_password(PASSWORD, NEW_PASSWORD).await.tokens();
        user.tokens = user.change_password(NEW_PASSWORD, PASSWORD).await.tokens();
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_nothing() {
    let app = TestApp::with(|config| {
        patient(config);
        config.passwords.memory_kib = COSTLY_KIB;
        config.passwords.threads = 1;
        config.limits.failed_logins_per_address = 5;
    })
    .await;
    let user = app.signed_up().await;
    let body = json!({ "email": user.email, "password": WRONG }).to_string();
    let request = format!(
        "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let before = app.hashed();
    let mut guesses = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        guesses.push(stream);
    }
    let hasher = app.api.accounts.hasher();
    until(async || app.hashed() - before + hasher.waiting() as u64 == 5).await;
    drop(guesses);
    until(async || hasher.waiting() == 0).await;
    let mut last = None;
    until(async || {
        // 503 as long as one of them is still being hashed.
        let answer = app.log_in(&user.email, PASSWORD).await;
        last = Some(answer.clone());
        answer.status != 503
    })
    .await;
    last.unwrap().assert_problem(429, "too_many_failed_logins");
}

#[tokio::test]
async fn logins_beyond_the_queue_are_refused_at_once_and_spend_nothing() {
    const LOGINS: usize = 20;
    let app = TestApp::with(|config| {
        config.passwords.memory_kib = COSTLY_KIB;
        config.passwords.threads = 1;
        config.passwords.queue_capacity = 2;
        // Some 150 ms each, so that no machine has done one before the last has come.
        config.passwords.iterations = 10;
        config.database.pool_size = CROWD;
        config.limits.failed_logins_per_address = u32::try_from(LOGINS).unwrap();
    })
    .await;
    let user = app.signed_up().await;
    let deadline = app.config.passwords.queue_deadline.as_secs();
    let before = app.hashed();
    let answers = join_all((0..LOGINS).map(async |_| {
        let started = app.clock.monotonic();
        let answer = app.log_in(&user.email, WRONG).await;
        (answer, app.clock.monotonic().duration_since(started))
    }))
    .await;
    let hashed = answers.iter().filter(|(answer, _)| answer.status == 401).count();
    assert_eq!(app.hashed() - before, hashed as u64);
    assert!((1..LOGINS).contains(&hashed), "{hashed} of {LOGINS} were hashed");
    for (refused, took) in answers.into_iter().filter(|(answer, _)| answer.status != 401) {
        let refused = refused.assert_problem(503, "overloaded");
        assert_eq!(refused.body["error"], "temporarily_unavailable");
        assert_eq!(refused.body["transient"], true);
        assert!((1..=deadline).contains(&retry_after(&refused)));
        assert!(took < Duration::from_secs(5), "{took:?} is not at once");
    }
    // The refused ones have their places back: so many are left, and no more.
    for _ in hashed..LOGINS {
        app.log_in(&user.email, WRONG).await.assert_problem(401, "invalid_credentials");
    }
    app.log_in(&user.email, PASSWORD).await.assert_problem(429, "too_many_failed_logins");
}

#[tokio::test]
async fn every_hashing_endpoint_rejects_excess_requests() {
    let app = TestApp::with(|config| {
        config.passwords.memory_kib = COSTLY_KIB;
        config.passwords.threads = 1;
        config.passwords.queue_capacity = 1;
        config.passwords.iterations = 20;
    })
    .await;
    let user = app.signed_up().await;
    let before = app.hashed();
    let hasher = app.api.accounts.hasher();
    let (first, second, refused) = tokio::join!(
        app.log_in("a@example.com", WRONG),
        async {
            until(async || app.hashed() == before + 1).await;
            app.log_in("b@example.com", WRONG).await
        },
        async {
            until(async || app.hashed() == before + 1 && hasher.waiting() == 1).await;
            tokio::join!(
                app.register("c@example.com", PASSWORD),
                user.change_password(PASSWORD, NEW_PASSWORD),
                user.close(PASSWORD),
            )
        }
    );
    first.assert_status(401);
    second.assert_status(401);
    for refused in [refused.0, refused.1, refused.2] {
        assert!(retry_after(&refused.assert_problem(503, "overloaded")) >= 1);
    }
    user.me().await.assert_status(200);
}

/// A queue in which everybody finds room and nobody waits in vain.
fn patient(config: &mut Config) {
    config.passwords.queue_capacity = 1000;
    config.database.pool_size = CROWD;
}

/// Twenty wrong passwords for an account, and ten for each of its origins.
fn under_attack(config: &mut Config) {
    behind_a_proxy(config);
    config.limits.failed_logins_per_account = 20;
    // Many hashes; their price is not what these tests are about.
    config.passwords.iterations = 1;
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").expect("Retry-After").parse().unwrap()
}

async fn log_in_from(app: &TestApp, address: &str, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "password": password });
    post_login(app, address, &body).await
}

async fn log_in_with_device(
    app: &TestApp,
    address: &str,
    email: &str,
    password: &str,
    token: &str,
) -> Answer {
    let body = json!({ "email": email, "password": password, "known_device": token });
    post_login(app, address, &body).await
}

async fn post_login(app: &TestApp, address: &str, body: &Value) -> Answer {
    app.post("/login").header("x-forwarded-for", address).json(body).send().await
}

/// Somebody with a session at [`HOME`] and nowhere else.
async fn signed_up_at_home(app: &TestApp) -> (String, Tokens) {
    let email = format!("{}@example.com", uuid::Uuid::new_v4());
    app.register(&email, PASSWORD).await.assert_status(201);
    let tokens = log_in_from(app, HOME, &email, PASSWORD).await.tokens();
    (email, tokens)
}

/// What strangers do: a wrong password from each of many addresses, until there is no budget.
async fn spend_the_budget(app: &TestApp, email: &str) {
    for n in 0..20 {
        let address = format!("198.51.100.{n}");
        log_in_from(app, &address, email, WRONG).await.assert_status(401);
    }
    log_in_from(app, "198.51.100.20", email, WRONG).await.assert_status(429);
}
