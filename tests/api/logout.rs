//! What ends a session, and that it has ended: at once, everywhere, and after a restart. And what
//! may be forgotten, and when.

use std::time::Duration;

use diesel::prelude::*;
use doorward::database::schema::{blocklist, sessions, users};
use doorward::database::{Database, DatabaseSettings, Id};
use doorward::revocations::{RevocationPolicy, Revocations, StalePolicy};
use doorward::secret::{MasterSecret, Secret};
use doorward::tokens::{Algorithm, Claims};
use serde_json::{Value, json};

use crate::support::jwt::Jwt;
use crate::support::{Answer, PASSWORD, TestApp, Tokens, User, id, until};

const DAY: u64 = 86400;

const HOUR: u64 = 3600;

#[tokio::test]
async fn a_logout_ends_its_session_at_once_and_no_other() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let (other, stranger) = (user.another_session().await, app.signed_up().await);
    let earlier = user.tokens.clone();
    user.refresh().await.assert_status(200);
    let again = app.refresh(&earlier.refresh).await.tokens();
    user.log_out().await.assert_status(204);

    for access in [&earlier.access, &user.tokens.access, &again.access] {
        app.me(access).await.assert_problem(401, "token_revoked");
    }
    for refresh in [&earlier.refresh, &user.tokens.refresh] {
        app.refresh(refresh).await.assert_ended("logout");
    }
    app.me(&other.access).await.assert_status(200);
    app.refresh(&other.refresh).await.assert_status(200);
    stranger.me().await.assert_status(200);
}

#[tokio::test]
async fn the_scope_of_a_logout_is_one_session_the_others_or_all() {
    let app = TestApp::start().await;
    for (scope, this, others) in
        [("this", false, true), ("others", true, false), ("all", false, false)]
    {
        let user = app.signed_up().await;
        let others_tokens = [user.another_session().await, user.another_session().await];
        let stranger = app.signed_up().await;
        user.log_out_scope(scope).await.assert_status(204);
        assert_lives(&app, &user.tokens, this).await;
        for tokens in &others_tokens {
            assert_lives(&app, tokens, others).await;
        }
        assert_lives(&app, &stranger.tokens, true).await;
    }
    let user = app.signed_up().await;
    for scope in ["", "ALL", "everything", "this,others"] {
        user.log_out_scope(scope).await.assert_problem(400, "malformed_request");
    }
    let unknown = app.post("/logout?scope=this&all=1").bearer(&user.tokens.access);
    unknown.send().await.assert_problem(400, "malformed_request");
    user.me().await.assert_status(200);
}

#[tokio::test]
async fn a_refresh_token_alone_logs_its_session_out() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let other = user.another_session().await;
    log_out_by_token(&app, &user.tokens.refresh).await.assert_status(204);
    assert_lives(&app, &user.tokens, false).await;
    assert_lives(&app, &other, true).await;

    // By a token that was spent long ago: whoever holds it wants the session gone.
    let spent = other.refresh.clone();
    user.tokens = app.refresh(&spent).await.tokens();
    for _ in 0..3 {
        app.advance(31);
        user.refresh().await.assert_status(200);
    }
    log_out_by_token(&app, &spent).await.assert_status(204);
    assert_lives(&app, &user.tokens, false).await;
    user.refresh().await.assert_ended("logout");
}

#[tokio::test]
async fn a_refresh_token_logs_out_when_the_access_token_has_expired() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    app.advance(600);
    user.log_out().await.assert_problem(401, "token_expired");
    let body = json!({ "refresh_token": user.tokens.refresh });
    for scope in ["?scope=others", "?scope=all"] {
        let request = app.post(&format!("/logout{scope}")).bearer(&user.tokens.access);
        request.json(&body).send().await.assert_problem(401, "token_expired");
        let request = app.post(&format!("/logout{scope}")).json(&body);
        request.send().await.assert_problem(401, "missing_token");
    }
    assert_eq!(app.live_sessions(&user.id).await.len(), 1);
    let request = app.post("/logout?scope=this").bearer(&user.tokens.access);
    request.json(&body).send().await.assert_status(204);
    app.refresh(&user.tokens.refresh).await.assert_ended("logout");
}

#[tokio::test]
async fn credentials_of_two_sessions_end_neither() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    for scope in ["this", "others", "all"] {
        let request = app.post(&format!("/logout?scope={scope}")).bearer(&user.tokens.access);
        let both = request.json(&json!({ "refresh_token": other.refresh })).send().await;
        both.assert_problem(400, "multiple_credentials");
    }
    assert_lives(&app, &user.tokens, true).await;
    assert_lives(&app, &other, true).await;
    let request = app.post("/logout").bearer(&user.tokens.access);
    let one = request.json(&json!({ "refresh_token": user.tokens.refresh })).send().await;
    one.assert_status(204);
    assert_lives(&app, &user.tokens, false).await;
    assert_lives(&app, &other, true).await;
}

#[tokio::test]
async fn the_token_of_a_session_that_has_ended_is_a_success() {
    let app = with_few_sessions().await;
    for (reason, tokens) in ended_sessions(&app).await {
        for _ in 0..2 {
            log_out_by_token(&app, &tokens.refresh).await.assert_status(204);
        }
        // One that has expired is logged out by that.
        let reason = if reason == "expired" { "logout" } else { reason };
        app.refresh(&tokens.refresh).await.assert_ended(reason);
    }
}

#[tokio::test]
async fn a_forged_token_ends_nothing() {
    let app = TestApp::start().await;
    let mut user = app.signed_up().await;
    let good = user.tokens.refresh.clone();
    let swapped = if good.as_bytes()[20] == b'A' { "B" } else { "A" };
    let forged = format!("{}{swapped}{}", &good[..20], &good[21..]);
    for token in [&forged, &good[..good.len() - 1], "dwr_", "", &user.tokens.access] {
        let refused = log_out_by_token(&app, token).await.assert_problem(401, "invalid_grant");
        assert_eq!(refused.body["reason"], "unknown_token");
    }
    app.post("/logout").send().await.assert_problem(401, "missing_token");
    app.post("/logout").json(&json!({})).send().await.assert_problem(401, "missing_token");
    user.me().await.assert_status(200);
    user.refresh().await.assert_status(200);
}

#[tokio::test]
async fn every_reason_is_named_at_the_next_refresh_and_after_a_restart() {
    let app = with_few_sessions().await;
    let ended = ended_sessions(&app).await;
    let check = async |app: &TestApp| {
        let mut explanations = Vec::new();
        for (reason, tokens) in &ended {
            let refused = app.refresh(&tokens.refresh).await.assert_ended(reason);
            assert_eq!(refused.body["transient"], Value::Null, "it is final");
            explanations.push(refused.body["detail"].to_string());
            if *reason != "expired" {
                app.me(&tokens.access).await.assert_problem(401, "token_revoked");
            }
        }
        explanations.sort();
        explanations.dedup();
        assert_eq!(explanations.len(), ended.len(), "each reason has its own words");
    };
    check(&app).await;
    let app = app.restart().await;
    check(&app).await;
}

#[tokio::test]
async fn every_access_token_of_an_ended_session_is_refused_after_a_restart() {
    let app = TestApp::start().await;
    let (tokens, other) = {
        let mut user = app.signed_up().await;
        let mut tokens = vec![user.tokens.access.clone()];
        for _ in 0..3 {
            user.refresh().await.assert_status(200);
            tokens.push(user.tokens.access.clone());
            app.advance(31);
        }
        let other = user.another_session().await;
        user.log_out().await.assert_status(204);
        (tokens, other)
    };
    let app = app.restart().await;
    for access in &tokens {
        app.me(access).await.assert_problem(401, "token_revoked");
        for path in ["/sessions"] {
            app.get(path).bearer(access).send().await.assert_problem(401, "token_revoked");
        }
    }
    app.me(&other.access).await.assert_status(200);
}

#[tokio::test]
async fn the_list_shows_ones_own_live_sessions() {
    let app = TestApp::start().await;
    // Times are rounded to the hour, so the test begins on one.
    let began = HOUR - app.clock.now().unix_seconds().cast_unsigned() % HOUR;
    app.advance(began);
    let mut user = app.signed_up().await;
    let _stranger = app.signed_up().await;
    app.advance(10);
    let body = json!({ "email": user.email, "password": PASSWORD, "label": "Ada's phone" });
    let request = app.post("/login").header("user-agent", "  Phone/1.0 ").json(&body);
    let phone = request.send().await.tokens();
    let ended = user.another_session().await;
    log_out_by_token(&app, &ended.refresh).await.assert_status(204);

    let list = sessions_of(&app, &phone.access).await;
    assert_eq!(list.len(), 2);
    let expected = json!({
        "id": phone.session,
        "label": "Ada's phone",
        "user_agent": "Phone/1.0",
        "address": "127.0.0.1",
        "created_at": app.moment(began + 10),
        "last_seen_at": app.moment(began),
        "expires_at": app.moment(began + 30 * DAY),
        "current": true,
    });
    assert_eq!(list[0], expected);
    assert_eq!(list[1]["id"], user.tokens.session);
    assert_eq!((&list[1]["label"], &list[1]["current"]), (&json!(null), &json!(false)));

    // A refresh moves a session to the front, with where it came from.
    app.advance(2 * HOUR);
    let body = json!({ "refresh_token": user.tokens.refresh });
    let request = app.post("/refresh").header("user-agent", "Tab/2.0").json(&body);
    user.tokens = request.send().await.tokens();
    let list = sessions_of(&app, &user.tokens.access).await;
    assert_eq!(list[0]["id"], user.tokens.session);
    assert_eq!(list[0]["user_agent"], "Tab/2.0");
    assert_eq!(list[0]["created_at"], app.moment(began));
    assert_eq!(list[0]["last_seen_at"], app.moment(began + 2 * HOUR));
    assert_eq!(list[0]["expires_at"], app.moment(began + 30 * DAY + 2 * HOUR));
    assert_eq!(list[0]["current"], true);
    assert_eq!((&list[1]["id"], &list[1]["current"]), (&json!(phone.session), &json!(false)));
    assert_eq!(list[1]["last_seen_at"], app.moment(began + HOUR));
    assert_eq!(list[1]["expires_at"], app.moment(began + 30 * DAY + HOUR));

    app.advance(30 * DAY - 1);
    let present = user.another_session().await;
    let list = sessions_of(&app, &present.access).await;
    let ids: Vec<&Value> = list.iter().map(|session| &session["id"]).collect();
    assert_eq!(ids, [&present.session, &user.tokens.session], "the phone's has expired");
    app.get("/sessions").send().await.assert_problem(401, "missing_token");
}

#[tokio::test]
async fn a_session_is_ended_by_its_id() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (lost, kept) = (user.another_session().await, user.another_session().await);
    end(&app, &user, &lost.session).await.assert_status(204);
    app.me(&lost.access).await.assert_problem(401, "token_revoked");
    app.refresh(&lost.refresh).await.assert_ended("ended_by_user");
    end(&app, &user, &lost.session).await.assert_problem(404, "not_found");

    end(&app, &user, &user.tokens.session.to_uppercase()).await.assert_status(204);
    user.me().await.assert_problem(401, "token_revoked");
    assert_lives(&app, &kept, true).await;
}

#[tokio::test]
async fn a_user_cannot_end_another_users_session() {
    let app = TestApp::start().await;
    let (user, other) = (app.signed_up().await, app.signed_up().await);
    let theirs = end(&app, &user, &other.tokens.session).await.assert_problem(404, "not_found");
    let nobodys = uuid::Uuid::new_v4().to_string();
    let nobodys = end(&app, &user, &nobodys).await.assert_problem(404, "not_found");
    assert_eq!(theirs.body["detail"], nobodys.body["detail"], "nobody learns that it exists");
    for id in ["1", "all", "%20", "..%2f", "00000000-0000-0000-0000-000000000000"] {
        end(&app, &user, id).await.assert_problem(404, "not_found");
    }
    let path = format!("/sessions/{}", other.tokens.session);
    app.call("DELETE", &path).send().await.assert_problem(401, "missing_token");
    assert_lives(&app, &other.tokens, true).await;
}

#[tokio::test]
async fn a_session_that_has_expired_can_be_ended_all_the_same() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    app.advance(30 * DAY);
    let present = user.another_session().await;
    let path = format!("/sessions/{}", user.tokens.session);
    app.refresh(&user.tokens.refresh).await.assert_ended("expired");
    // The clock that says so may be wrong.
    let request = app.call("DELETE", &path).bearer(&present.access);
    request.send().await.assert_status(204);
    app.refresh(&user.tokens.refresh).await.assert_ended("ended_by_user");
    let request = app.call("DELETE", &path).bearer(&present.access);
    request.send().await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn revocations_of_another_process_on_the_same_data_apply_within_a_second() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    let (db, revocations) = another_process(&app).await;

    let jti: doorward::tokens::TokenId =
        serde_json::from_value(claims(&other.access)["jti"].clone()).unwrap();
    let (session, token) = (id(&user.tokens.session), Id::from(jti.uuid()));
    let now = app.clock.now();
    let revoked = db.write(move |tx| {
        revocations.revoke(tx, session, now)?;
        revocations.revoke(tx, token, now)?;
        revocations.announce(tx)
    });
    revoked.await.unwrap();
    let stored = app.clock.monotonic();
    until(async || user.me().await.status == 401).await;
    let took = app.clock.monotonic().duration_since(stored);
    assert!(took < Duration::from_secs(1), "{took:?}");
    user.me().await.assert_problem(401, "token_revoked");

    // One token of a session that goes on.
    app.me(&other.access).await.assert_problem(401, "token_revoked");
    let next = app.refresh(&other.refresh).await.tokens();
    app.me(&next.access).await.assert_status(200);
}

#[tokio::test]
async fn a_revocation_is_kept_until_the_last_token_it_concerns_has_expired() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    user.log_out().await.assert_status(204);
    assert_eq!(count_blocklist(&app).await, 1);

    // Ten minutes of life, 30 s of leeway, and a minute for a request already past its check.
    app.advance(600 + 30 + 60 - 1);
    assert!(!app.api.revocations.purge(app.clock.now()).await.unwrap());
    assert_eq!(count_blocklist(&app).await, 1);
    app.advance(1 + of_server(&app));
    assert!(!app.api.revocations.purge(app.clock.now()).await.unwrap());
    assert_eq!(count_blocklist(&app).await, 0);
    user.me().await.assert_problem(401, "token_expired");
    app.refresh(&user.tokens.refresh).await.assert_ended("logout");
}

#[tokio::test]
async fn tokens_issued_before_the_clock_was_set_back_stay_revoked() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (second, _third) = (user.another_session().await, user.another_session().await);
    let later = "UPDATE sessions SET last_seen_at = last_seen_at + 3600000000";
    let later = app.db().write(move |tx| diesel::sql_query(later).execute(tx.connection()));
    assert_eq!(later.await.unwrap(), 3);
    user.log_out().await.assert_status(204);
    app.post("/logout?scope=all").bearer(&second.access).send().await.assert_status(204);
    app.advance(3600 + 600 + 30 + 60 - 1);
    app.api.revocations.purge(app.clock.now()).await.unwrap();
    assert_eq!(count_blocklist(&app).await, 3);
    app.advance(1);
    app.api.revocations.purge(app.clock.now()).await.unwrap();
    assert_eq!(count_blocklist(&app).await, 0);
}

#[tokio::test]
async fn a_long_blocklist_is_purged_in_batches() {
    let app = TestApp::start().await;
    let revocations = app.api.revocations.clone();
    let now = app.clock.now();
    let revoked = app.db().write(move |tx| {
        let ids = (0..250).map(|_| (uuid::Uuid::new_v4().into(), now));
        revocations.revoke_all(tx, ids, now)
    });
    revoked.await.unwrap();
    app.advance(690 + of_server(&app));
    let mut left = Vec::new();
    while app.api.revocations.purge(app.clock.now()).await.unwrap() {
        left.push(count_blocklist(&app).await);
    }
    assert_eq!(left, [150, 50]);
    assert_eq!(count_blocklist(&app).await, 0);
}

#[tokio::test]
async fn a_shorter_lifetime_brings_no_revoked_token_back() {
    let app = TestApp::with(|config| config.tokens.lifetime = Duration::from_secs(3600)).await;
    let tokens = app.signed_up().await.tokens;
    let app = app.restart_with(|config| config.tokens.lifetime = Duration::from_secs(600)).await;
    app.me(&tokens.access).await.assert_status(200);
    app.post("/logout").bearer(&tokens.access).send().await.assert_status(204);
    app.me(&tokens.access).await.assert_problem(401, "token_revoked");
    app.advance(700);
    app.api.revocations.purge(app.clock.now()).await.unwrap();
    app.me(&tokens.access).await.assert_status(401);
    let app = app.restart().await;
    app.me(&tokens.access).await.assert_status(401);
}

#[tokio::test]
async fn an_ended_session_is_remembered_for_ninety_days() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let refused = user.another_session().await;
    log_out_by_token(&app, &refused.refresh).await.assert_status(204);
    app.advance(90 * DAY);
    let present = user.another_session().await;
    purge(&app).await;
    app.refresh(&refused.refresh).await.assert_ended("logout");
    app.refresh(&user.tokens.refresh).await.assert_ended("expired");

    app.advance(1);
    purge(&app).await;
    app.refresh(&refused.refresh).await.assert_ended("unknown_token");
    app.refresh(&user.tokens.refresh).await.assert_ended("expired");
    app.me(&present.access).await.assert_status(200);

    // What expired is remembered from the moment on at which it would have ended at the latest.
    app.advance(90 * DAY);
    purge(&app).await;
    app.refresh(&user.tokens.refresh).await.assert_ended("unknown_token");
    assert_eq!(count_sessions(&app).await, 1);
}

#[tokio::test]
async fn a_closed_account_is_forgotten_after_its_last_session() {
    let app = TestApp::start().await;
    let (user, other) = (app.signed_up().await, app.signed_up().await);
    user.close(PASSWORD).await.assert_status(204);
    app.advance(90 * DAY);
    purge(&app).await;
    app.refresh(&user.tokens.refresh).await.assert_ended("account_closed");
    assert_eq!(count_users(&app).await, 2);
    app.advance(1);
    purge(&app).await;
    app.refresh(&user.tokens.refresh).await.assert_ended("unknown_token");
    assert_eq!(count_users(&app).await, 1);
    app.log_in(&other.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn many_old_sessions_are_purged_in_batches() {
    let app = TestApp::with(|config| {
        config.passwords.memory_kib = 256;
        config.sessions.max_per_user = 1000;
    })
    .await;
    let user = app.signed_up().await;
    for _ in 0..250 {
        user.another_session().await;
    }
    user.log_out_scope("all").await.assert_status(204);
    app.advance(90 * DAY + 1);
    assert!(app.api.sessions.purge(app.clock.now()).await.unwrap());
    assert_eq!(count_sessions(&app).await, 51, "two hundred at a time");
    while app.api.sessions.purge(app.clock.now()).await.unwrap() {}
    assert_eq!(count_sessions(&app).await, 0);
}

#[tokio::test]
async fn a_new_signing_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_expire() {
    let app = TestApp::with(|config| config.tokens.key_lifetime = Duration::from_secs(DAY)).await;
    let mut user = app.signed_up().await;
    let old = kid(&user.tokens.access);
    let maintain = async |seconds: u64| {
        app.advance(seconds);
        app.api.keys.maintain().await.unwrap();
        let answer = app.get("/.well-known/jwks.json").send().await.assert_status(200);
        let kids: Vec<String> = answer.body["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect();
        (kids, answer.header("etag").unwrap().to_owned())
    };
    // The JWKS may be cached for ten minutes, and three are for clocks that differ and caches that
    // are late.
    let (kids, first_etag) = maintain(DAY - 780 - 1).await;
    assert_eq!(kids, [old.as_str()]);
    let (kids, etag) = maintain(1).await;
    assert_eq!(kids.len(), 2);
    assert_ne!(etag, first_etag);
    let new = kids.into_iter().find(|kid| *kid != old).unwrap();

    user.refresh().await.assert_status(200);
    assert_eq!(kid(&user.tokens.access), old, "published, and not used");
    assert_eq!(maintain(779).await.0.len(), 2);
    user.refresh().await.assert_status(200);
    assert_eq!(kid(&user.tokens.access), old);
    let last_of_the_old = user.tokens.access.clone();

    let (kids, _) = maintain(1).await;
    assert!(kids.len() == 2 && kids.contains(&old) && kids.contains(&new));
    app.advance(31);
    user.refresh().await.assert_status(200);
    assert_eq!(kid(&user.tokens.access), new);
    app.me(&last_of_the_old).await.assert_status(200);
    user.me().await.assert_status(200);

    // Its last token has expired after ten minutes, and verifiers may grant it 30 s more.
    let (kids, _) = maintain(600 - 1 - 31 - 1).await;
    assert_eq!(kids.len(), 2);
    app.me(&last_of_the_old).await.assert_status(200);
    let (kids, _) = maintain(810 - 600 + 2).await;
    assert_eq!(kids.len(), 2);
    app.me(&last_of_the_old).await.assert_problem(401, "token_expired");
    let (kids, _) = maintain(1).await;
    assert_eq!(kids, [new]);
    app.advance(31);
    user.refresh().await.assert_status(200);
    user.me().await.assert_status(200);
}

#[tokio::test]
async fn a_logout_revokes_tokens_of_both_keys() {
    let app = TestApp::with(|config| config.tokens.key_lifetime = Duration::from_secs(DAY)).await;
    let mut user = app.signed_up().await;
    app.advance(DAY - 780);
    app.api.keys.maintain().await.unwrap();
    app.advance(780);
    user.refresh().await.assert_status(200);
    let old = user.tokens.access.clone();
    app.api.keys.maintain().await.unwrap();
    app.advance(31);
    user.refresh().await.assert_status(200);
    assert_ne!(kid(&old), kid(&user.tokens.access));
    user.log_out().await.assert_status(204);
    let fresh = user.tokens.access.clone();
    app.me(&old).await.assert_problem(401, "token_revoked");
    app.me(&fresh).await.assert_problem(401, "token_revoked");
    let app = app.restart().await;
    app.me(&old).await.assert_problem(401, "token_revoked");
    app.me(&fresh).await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn another_algorithm_in_the_configuration_keeps_the_tokens_that_were_issued() {
    let app = TestApp::start().await;
    let tokens = app.signed_up().await.tokens;
    assert_eq!(Jwt::read(&tokens.access).header()["alg"], "ES256");
    let app = app.restart_with(|config| config.tokens.algorithm = Algorithm::EdDsa).await;
    app.me(&tokens.access).await.assert_status(200);
    let tokens = app.refresh(&tokens.refresh).await.tokens();
    assert_eq!(
        Jwt::read(&tokens.access).header()["alg"],
        "ES256",
        "until every cache has the new key"
    );

    app.advance(780);
    let late = app.refresh(&tokens.refresh).await.tokens();
    app.api.keys.maintain().await.unwrap();
    app.advance(31);
    let new = app.refresh(&late.refresh).await.tokens();
    assert_eq!(Jwt::read(&new.access).header()["alg"], "EdDSA");
    app.me(&late.access).await.assert_status(200);
    app.me(&new.access).await.assert_status(200);
    let app = app.restart().await;
    app.me(&late.access).await.assert_status(200);
    app.me(&new.access).await.assert_status(200);
}

#[tokio::test]
async fn a_change_of_the_master_secret_ends_no_session() {
    let app = TestApp::start().await;
    let (mut tokens, idle, email) = {
        let user = app.signed_up().await;
        (user.tokens.clone(), user.another_session().await, user.email.clone())
    };
    let lost_parent = tokens.refresh.clone();
    let lost = app.refresh(&lost_parent).await.tokens();
    let old = Secret::new(app.config.master_secret().unwrap().current.to_text().to_string());
    let new = Secret::new(MasterSecret::generate().to_text().to_string());

    let app = app
        .restart_with(|config| {
            config.secret = Some(new.clone());
            config.previous_secret = Some(old.clone());
        })
        .await;
    app.me(&tokens.access).await.assert_status(200);
    let again = app.refresh(&lost_parent).await.tokens();
    assert_eq!(again.generation, lost.generation, "a retry across the change");
    app.advance(31);
    tokens = app.refresh(&lost.refresh).await.tokens();
    assert_eq!(tokens.generation, 2);
    app.me(&tokens.access).await.assert_status(200);
    app.log_in(&email, PASSWORD).await.assert_status(200);
    let idle_access = app.refresh(&idle.refresh).await.tokens();

    let app = app.restart_with(|config| config.previous_secret = None).await;
    app.me(&tokens.access).await.assert_status(200);
    app.me(&idle_access.access).await.assert_status(200);
    app.advance(31);
    let next = app.refresh(&tokens.refresh).await.tokens();
    assert_eq!(next.generation, 3);
    app.refresh(&idle_access.refresh).await.assert_status(200);
    // The old secret is worth nothing any more, nor are tokens under it.
    app.refresh(&idle.refresh).await.assert_ended("unknown_token");
    app.me(&next.access).await.assert_status(200);
    app.log_in(&email, PASSWORD).await.assert_status(200);
}

/// Seconds that PostgreSQL's clock, which does not stand still, may be ahead of the test's: a
/// revocation is listed by whichever is later.
pub fn of_server(app: &TestApp) -> u64 {
    if app.is_on_postgres() { 60 } else { 0 }
}

/// Sessions of a user in [`ended_sessions`].
const MAX_SESSIONS: u32 = 2;

async fn with_few_sessions() -> TestApp {
    TestApp::with(|config| config.sessions.max_per_user = MAX_SESSIONS).await
}

/// A session for each way in which one can end, ended.
async fn ended_sessions(app: &TestApp) -> Vec<(&'static str, Tokens)> {
    let mut ended = Vec::new();

    let expired = app.signed_up().await;
    app.advance(30 * DAY);
    ended.push(("expired", expired.tokens));

    let user = app.signed_up().await;
    user.log_out().await.assert_status(204);
    ended.push(("logout", user.tokens));

    let user = app.signed_up().await;
    end(app, &user, &user.tokens.session).await.assert_status(204);
    ended.push(("ended_by_user", user.tokens));

    let mut user = app.signed_up().await;
    let stolen = user.tokens.clone();
    for _ in 0..2 {
        user.refresh().await.assert_status(200);
        app.advance(31);
    }
    app.refresh(&stolen.refresh).await.assert_ended("refresh_token_reused");
    ended.push(("refresh_token_reused", user.tokens));

    let user = app.signed_up().await;
    user.change_password(PASSWORD, "nine herons borrow umbrellas").await.assert_status(200);
    ended.push(("password_changed", user.tokens));

    let user = app.signed_up().await;
    assert!(app.api.accounts.disable(id(&user.id)).await.unwrap());
    ended.push(("account_disabled", user.tokens));

    let user = app.signed_up().await;
    user.close(PASSWORD).await.assert_status(204);
    ended.push(("account_closed", user.tokens));

    let user = app.signed_up().await;
    for _ in 0..MAX_SESSIONS {
        app.advance(1);
        user.another_session().await;
    }
    ended.push(("too_many_sessions", user.tokens));
    ended
}

async fn assert_lives(app: &TestApp, tokens: &Tokens, lives: bool) {
    if lives {
        app.me(&tokens.access).await.assert_status(200);
        app.refresh(&tokens.refresh).await.assert_status(200);
    } else {
        app.me(&tokens.access).await.assert_problem(401, "token_revoked");
        app.refresh(&tokens.refresh).await.assert_problem(401, "invalid_grant");
    }
}

async fn log_out_by_token(app: &TestApp, token: &str) -> Answer {
    app.post("/logout").json(&json!({ "refresh_token": token })).send().await
}

async fn end(app: &TestApp, user: &User<'_>, session: &str) -> Answer {
    let path = format!("/sessions/{session}");
    app.call("DELETE", &path).bearer(&user.tokens.access).send().await
}

async fn sessions_of(app: &TestApp, access: &str) -> Vec<Value> {
    let list = app.get("/sessions").bearer(access).send().await.assert_status(200);
    list.body["sessions"].as_array().unwrap().clone()
}

/// The blocklist as a second process sees it that has opened the same file.
async fn another_process(app: &TestApp) -> (Database, Revocations) {
    let settings = DatabaseSettings {
        url: app.config.database().unwrap(),
        pool_size: 1,
        statement_timeout: Duration::from_secs(3),
        migrate: false,
    };
    let db = Database::open(&settings).unwrap();
    let policy = RevocationPolicy {
        max_token_age: Duration::from_secs(630),
        max_staleness: Duration::from_secs(30),
        when_stale: StalePolicy::FailClosed,
        max_entries: 1000,
    };
    let revocations = Revocations::load(db.clone(), app.clock.clone(), policy).await.unwrap();
    (db, revocations)
}

/// What the service does every minute.
async fn purge(app: &TestApp) {
    while app.api.sessions.purge(app.clock.now()).await.unwrap() {}
    while app.api.accounts.purge().await.unwrap() {}
}

pub async fn count_blocklist(app: &TestApp) -> i64 {
    app.db().read(|c| blocklist::table.count().get_result(c)).await.unwrap()
}

async fn count_sessions(app: &TestApp) -> i64 {
    app.db().read(|c| sessions::table.count().get_result(c)).await.unwrap()
}

async fn count_users(app: &TestApp) -> i64 {
    app.db().read(|c| users::table.count().get_result(c)).await.unwrap()
}

fn kid(access: &str) -> String {
    Jwt::read(access).header()["kid"].as_str().unwrap().to_owned()
}

fn claims(access: &str) -> Value {
    let claims = Jwt::read(access).claims();
    serde_json::from_value::<Claims>(claims.clone()).expect("claims and no more");
    claims
}

#[tokio::test]
async fn a_second_logout_with_the_same_token_is_a_success_and_only_for_a_session_that_has_ended() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for _ in 0..2 {
        user.log_out().await.assert_status(204);
    }
    // More than its own session it cannot speak for.
    for scope in ["others", "all"] {
        user.log_out_scope(scope).await.assert_problem(401, "token_revoked");
    }
    let ended = app.signed_up().await;
    ended.log_out_scope("all").await.assert_status(204);
    ended.log_out().await.assert_status(204);

    // An access token that was revoked alone has a live session, which a success would deny.
    let alone = app.signed_up().await;
    let revoked = app.post("/revoke").form(&[("token", &alone.tokens.access)]).send().await;
    revoked.assert_status(200);
    alone.log_out().await.assert_problem(401, "token_revoked");
    app.refresh(&alone.tokens.refresh).await.assert_status(200);
    let forged = Jwt::read(&user.tokens.access).with_signature([0; 3]).to_string();
    let forged = app.post("/logout").bearer(&forged).send().await;
    forged.assert_problem(401, "invalid_token");
}
