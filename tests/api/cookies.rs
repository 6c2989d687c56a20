//! Tokens in cookies: what a browser is told to keep, what other pages can do with it (nothing),
//! and that answers which overtake each other log nobody out.

use std::time::Duration;

use diesel::prelude::*;
use doorward::clients::{ClientKind, ClientSettings};
use doorward::config::SameSite;
use doorward::database::schema::users;
use futures_util::future::join_all;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use crate::support::client::Call;
use crate::support::jar::{HTTPS, Jar, log_in};
use crate::support::{Answer, PASSWORD, TestApp, Tokens, User, id, raw, until};

const LISTED: &str = "https://app.example.com";
const NEW_PASSWORD: &str = "nine herons borrow umbrellas";

async fn start() -> TestApp {
    TestApp::with(|config| {
        config.public_url = HTTPS.into();
        config.cors.origins = vec![LISTED.into()];
    })
    .await
}

/// The fields `Set-Cookie`, sorted.
fn set(answer: &Answer) -> Vec<String> {
    let fields = answer.headers.get_all("set-cookie").iter();
    let mut fields: Vec<String> = fields.map(|it| it.to_str().unwrap().to_owned()).collect();
    fields.sort();
    fields
}

#[track_caller]
fn assert_empties(answer: &Answer, jar: &Jar) {
    let mut jar = jar.clone();
    jar.keep(answer);
    assert_eq!(jar, Jar::default(), "{:?}", answer.headers);
}

// What the browser is told.

#[tokio::test]
async fn a_login_with_cookies_tells_the_page_no_token() {
    let app = start().await;
    let user = app.signed_up().await;
    let call = log_in(&app, &user.email).header("sec-fetch-site", "same-origin");
    let answer = call.send().await.assert_status(200);
    let session = answer.body["session_id"].as_str().unwrap().replace('-', "");
    let members: Vec<&String> = answer.body.as_object().unwrap().keys().collect();
    let told = ["expires_in", "generation", "refresh_expires_in", "session_id", "token_type"];
    assert_eq!(members, told);
    assert_eq!(answer.header("cache-control"), Some("no-store"));

    let [access, refresh] = &set(&answer)[..] else { panic!("two cookies: {answer:?}") };
    let (_, attributes) = access.split_once("; ").unwrap();
    assert_eq!(attributes, "HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=600");
    let name = format!("__Host-doorward-refresh-{session}-0=dwr_");
    assert!(refresh.starts_with(&name), "{refresh}");
    let (_, attributes) = refresh.split_once("; ").unwrap();
    assert_eq!(attributes, "HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=2592000");

    let mut jar = Jar::default();
    jar.keep(&answer);
    for value in jar.0.values() {
        assert!(!answer.text.contains(value), "{}", answer.text);
    }
    assert_eq!(jar.me(&app).await.assert_status(200).body["email"], user.email);
}

#[tokio::test]
async fn the_setting_says_from_which_sites_cookies_are_sent() {
    for (same_site, written) in
        [(SameSite::Lax, "Lax"), (SameSite::Strict, "Strict"), (SameSite::None, "None")]
    {
        let app = TestApp::with(|config| {
            config.public_url = HTTPS.into();
            config.cookies.same_site = same_site;
        })
        .await;
        let user = app.signed_up().await;
        let call = log_in(&app, &user.email).header("origin", HTTPS);
        let set = set(&call.send().await.assert_status(200));
        assert_eq!(set.len(), 2);
        for field in set {
            assert!(field.contains(&format!("; SameSite={written}; Secure;")), "{field}");
        }
    }
}

#[tokio::test]
async fn without_https_cookies_work_only_on_localhost() {
    for url in ["http://doorward.test", "http://192.0.2.7:8080", "http://localhost.example"] {
        let app = TestApp::with(|config| config.public_url = url.into()).await;
        let user = app.signed_up().await;
        let call = log_in(&app, &user.email).header("sec-fetch-site", "same-origin");
        let refused = call.send().await.assert_problem(400, "cookies_need_https");
        assert_eq!(set(&refused), [""; 0]);
        assert_eq!(app.live_sessions(&user.id).await.len(), 1, "no session was started");
        app.log_in(&user.email, PASSWORD).await.assert_status(200);
    }
    for url in ["http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:8080", ""] {
        let app = TestApp::with(|config| config.public_url = url.into()).await;
        let user = app.signed_up().await;
        Jar::log_in(&app, &user.email).await;
    }
}

#[tokio::test]
async fn a_transport_is_body_or_cookie() {
    let app = start().await;
    let user = app.signed_up().await;
    let with = |transport: Value| {
        let body = json!({ "email": user.email, "password": PASSWORD, "transport": transport });
        app.post("/login").header("sec-fetch-site", "same-origin").json(&body)
    };
    let plain = with(json!("body")).send().await;
    assert_eq!(set(&plain), [""; 0]);
    plain.tokens();
    for wrong in [json!("cookies"), json!("Cookie"), json!(""), json!(true), Value::Null] {
        let refused = with(wrong).send().await.assert_problem(400, "malformed_request");
        assert_eq!(refused.body["errors"][0]["pointer"], "/transport");
    }
}

// A session of cookies.

#[tokio::test]
async fn every_resource_with_a_token_accepts_it_in_a_cookie() {
    let app = start().await;
    let user = app.signed_up().await;
    let mut jar = Jar::log_in(&app, &user.email).await;
    let listed = jar.own(app.get("/sessions")).send().await.assert_status(200);
    assert_eq!(listed.body["sessions"].as_array().unwrap().len(), 2);
    let end = app.call("DELETE", &format!("/sessions/{}", user.tokens.session));
    jar.own(end).send().await.assert_status(204);
    user.me().await.assert_problem(401, "token_revoked");
    jar.own(app.get("/verify").header("x-original-method", "POST")).send().await.assert_status(200);

    let before = jar.clone();
    let refreshed = jar.refresh(&app).await.assert_status(200);
    assert_eq!(refreshed.body["generation"], 1);
    assert!(refreshed.body.get("refresh_token").is_none());
    jar.keep(&refreshed);
    assert_eq!(jar.refresh_names().len(), 1, "the one before was taken back");
    assert_ne!(jar.refresh_names(), before.refresh_names());

    let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
    let changed = jar.own(app.post("/me/password")).json(&body).send().await.assert_status(200);
    assert!(changed.body.get("access_token").is_none());
    let old = jar.clone();
    jar.keep(&changed);
    assert_eq!(jar.refresh_names().len(), 1);
    old.me(&app).await.assert_problem(401, "token_revoked");
    jar.me(&app).await.assert_status(200);

    let close = jar.own(app.post("/me/close")).json(&json!({ "password": NEW_PASSWORD }));
    assert_empties(&close.send().await.assert_status(204), &jar);
    jar.me(&app).await.assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn an_access_cookie_that_the_browser_dropped_is_fetched_by_a_refresh_and_by_nothing_else() {
    let app = start().await;
    let user = app.signed_up().await;
    let mut jar = Jar::log_in(&app, &user.email).await;
    app.advance(600);
    let expired = jar.me(&app).await.assert_problem(401, "token_expired");
    assert_eq!(set(&expired), [""; 0], "no refresh behind the page's back");
    jar.0.remove("__Host-doorward-access");
    let missing = jar.me(&app).await.assert_problem(401, "missing_token");
    assert_eq!(set(&missing), [""; 0]);
    jar.keep(&jar.refresh(&app).await.assert_status(200));
    jar.me(&app).await.assert_status(200);
    // An empty object is as good as an empty body.
    jar.own(app.post("/refresh")).json(&json!({})).send().await.assert_status(200);
}

#[tokio::test]
async fn a_logout_clears_the_cookies_in_every_state_of_the_session() {
    let app = start().await;
    let user = app.signed_up().await;
    let log_out = async |jar: &Jar| jar.own(app.post("/logout")).send().await;
    let jar = Jar::log_in(&app, &user.email).await;
    assert_empties(&log_out(&jar).await.assert_status(204), &jar);
    jar.me(&app).await.assert_problem(401, "token_revoked");
    // Again, as by an impatient finger: the access token is no more, the refresh token is enough.
    assert_empties(&log_out(&jar).await.assert_status(204), &jar);
    let mut bare = jar.clone();
    bare.0.retain(|name, _| name == "__Host-doorward-access");
    assert_empties(&log_out(&bare).await.assert_status(204), &bare);

    let mut jar = Jar::log_in(&app, &user.email).await;
    jar.0.remove("__Host-doorward-access");
    assert_empties(&log_out(&jar).await.assert_status(204), &jar);
    assert_empties(&jar.refresh(&app).await.assert_ended("logout"), &jar);
    app.post("/logout").send().await.assert_problem(401, "missing_token");
}

#[tokio::test]
async fn the_scopes_of_a_logout_are_the_same_with_cookies() {
    let app = start().await;
    for (scope, stays) in [("others", true), ("all", false)] {
        let user = app.signed_up().await;
        let (jar, other) =
            (Jar::log_in(&app, &user.email).await, Jar::log_in(&app, &user.email).await);
        let path = format!("/logout?scope={scope}");
        // Without an access token it takes a refresh first, and so the cookies stay.
        let mut bare = jar.clone();
        bare.0.remove("__Host-doorward-access");
        let refused = bare.own(app.post(&path)).send().await;
        assert_eq!(set(&refused.assert_problem(401, "missing_token")), [""; 0]);
        let answer = jar.own(app.post(&path)).send().await.assert_status(204);
        other.me(&app).await.assert_problem(401, "token_revoked");
        user.me().await.assert_problem(401, "token_revoked");
        if stays {
            assert_eq!(set(&answer), [""; 0]);
            jar.me(&app).await.assert_status(200);
        } else {
            assert_empties(&answer, &jar);
            jar.me(&app).await.assert_problem(401, "token_revoked");
        }
    }
}

#[tokio::test]
async fn a_refresh_that_is_refused_for_good_takes_the_cookies_back_and_no_other_does() {
    let app = TestApp::with(|config| {
        config.public_url = HTTPS.into();
        config.limits.refresh_burst = 2;
        config.limits.refresh_per_minute = 1;
    })
    .await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    jar.refresh(&app).await.assert_status(200);
    jar.refresh(&app).await.assert_status(200);
    assert_eq!(set(&jar.refresh(&app).await.assert_problem(429, "rate_limited")), [""; 0]);

    let ended = Jar::log_in(&app, &user.email).await;
    ended.own(app.post("/logout")).send().await.assert_status(204);
    assert_empties(&ended.refresh(&app).await.assert_ended("logout"), &ended);
    let mut mangled = ended.clone();
    mangled.0.values_mut().for_each(|value| value.push('x'));
    assert_empties(&mangled.refresh(&app).await.assert_ended("unknown_token"), &mangled);
    // A page cannot see that it has none.
    let nobody = app.post("/refresh").header("sec-fetch-site", "same-origin").send().await;
    assert_eq!(set(&nobody.assert_problem(401, "missing_token")), [""; 0]);
}

#[tokio::test]
async fn a_stolen_cookie_is_noticed_like_any_refresh_token() {
    let app = start().await;
    let user = app.signed_up().await;
    let mut owner = Jar::log_in(&app, &user.email).await;
    let mut thief = owner.clone();
    for _ in 0..2 {
        app.advance(31);
        thief.keep(&thief.refresh(&app).await.assert_status(200));
    }
    let noticed = owner.refresh(&app).await.assert_ended("refresh_token_reused");
    assert_empties(&noticed, &owner);
    owner.keep(&noticed);
    thief.me(&app).await.assert_problem(401, "token_revoked");
    thief.refresh(&app).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn the_cookie_at_hand_is_a_known_device() {
    let app = TestApp::with(|config| {
        config.public_url = HTTPS.into();
        config.limits.failed_logins_per_address = 2;
        config.limits.failed_logins_per_account = 2;
        config.limits.known_address_lifetime = Duration::ZERO;
    })
    .await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    for _ in 0..2 {
        app.log_in(&user.email, "not the password").await.assert_status(401);
    }
    let own = |call: Call| call.header("sec-fetch-site", "same-origin");
    let stranger = own(log_in(&app, &user.email)).send().await;
    stranger.assert_problem(429, "too_many_failed_logins");
    let answer = jar.own(log_in(&app, &user.email)).send().await.assert_status(200);
    let mut after = jar.clone();
    after.keep(&answer);
    assert_eq!(after.refresh_names().len(), 1, "the session before was replaced");
}

// One source of credentials.

#[tokio::test]
async fn a_token_in_addition_to_a_cookie_is_rejected() {
    let app = start().await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    let Tokens { access, refresh, .. } = &user.tokens;
    let member = json!({ "refresh_token": refresh });
    let change = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
    let mut jars = vec![jar.clone()];
    for name in jar.0.keys() {
        let mut one = jar.clone();
        one.0.retain(|other, _| other == name);
        jars.push(one);
    }
    for jar in &jars {
        for call in [
            app.get("/me").bearer(access),
            app.get("/sessions").bearer(access),
            app.get("/verify").bearer(access),
            app.call("DELETE", &format!("/sessions/{}", user.tokens.session)).bearer(access),
            app.post("/me/password").bearer(access).json(&change),
            app.post("/me/close").bearer(access).json(&json!({ "password": PASSWORD })),
            app.post("/logout").bearer(access),
            app.post("/logout").json(&member),
            app.post("/logout").bearer(access).json(&member),
            app.post("/logout?scope=all").bearer(access),
            app.post("/refresh").json(&member),
            app.post("/refresh").bearer(access),
        ] {
            jar.own(call).send().await.assert_problem(400, "multiple_credentials");
        }
    }
    user.me().await.assert_status(200);
    jar.me(&app).await.assert_status(200);
    assert_eq!(app.live_sessions(&user.id).await.len(), 2);
}

#[tokio::test]
async fn two_cookies_of_one_name_are_refused() {
    let app = start().await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    for (name, value) in &jar.0 {
        for second in [format!("{name}={value}"), format!("{name}=x"), format!("{name}=")] {
            for path in ["/me", "/sessions", "/verify"] {
                let call = jar.own(app.get(path).header("cookie", &second));
                call.send().await.assert_problem(400, "multiple_credentials");
            }
            let field = format!("{}; {second}", jar.field());
            for path in ["/refresh", "/logout"] {
                let call = app.post(path).header("cookie", &field);
                let call = call.header("sec-fetch-site", "same-origin").send().await;
                call.assert_problem(400, "multiple_credentials");
            }
        }
    }
    jar.me(&app).await.assert_status(200);
}

#[tokio::test]
async fn the_cookies_of_other_applications_do_no_harm() {
    let app = start().await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    for junk in [
        &b"theme=dark"[..],
        b"=",
        b";;; ; ",
        b"novalue",
        b"a=b=c; a=b=c",
        b"quoted=\"x; y\"",
        b"utf8=\xc3\xbc; latin1=\xfc",
        b"__Host-doorward-refresh-=x; __Host-doorward-refresh-1-2=x; doorward-access=x",
        b"__host-doorward-access=x; __Secure-doorward-access=x",
    ] {
        for text in [
            [junk, b"; ", jar.field().as_bytes()].concat(),
            [jar.field().as_bytes(), b"; ", junk].concat(),
            [b"x=", jar.field().as_bytes(), b"; ", jar.field().as_bytes()].concat(),
        ] {
            // The last begins with `x=__Host-…=`: the name there is `x`.
            let is_whole = text.starts_with(b"x=").then_some(()).is_none();
            let mut request = b"GET /me HTTP/1.1\r\nHost: a\r\nCookie: ".to_vec();
            request.extend(text);
            request.extend(b"\r\nConnection: close\r\n\r\n");
            let answer = raw::send(&app, request).await;
            let expected = if is_whole { 200 } else { 400 };
            assert_eq!(answer.status, expected, "{junk:?} {}", answer.text);
        }
        let mut request = b"GET /me HTTP/1.1\r\nHost: a\r\nCookie: ".to_vec();
        request.extend(junk);
        request.extend(b"\r\nConnection: close\r\n\r\n");
        raw::send(&app, request).await.assert_problem(401, "missing_token");
    }
    for value in ["", "x y", "a,b", "\"", "eyJ", &"a".repeat(5000)] {
        let call = app.get("/me").header("cookie", &format!("__Host-doorward-access={value}"));
        call.send().await.assert_problem(401, "invalid_token");
    }
    // RFC 9113 8.2.3: a proxy may cut the field into several.
    let mut call = app.get("/me");
    for (name, value) in &jar.0 {
        call = call.header("cookie", &format!("{name}={value}"));
    }
    call.send().await.assert_status(200);
}

#[tokio::test]
async fn a_refresh_token_is_not_accepted_as_an_access_cookie() {
    let app = start().await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    let name = jar.refresh_names()[0].to_owned();
    let mut swapped = jar.clone();
    swapped.0.insert("__Host-doorward-access".into(), jar.0[&name].clone());
    swapped.0.insert(name, jar.access().to_owned());
    swapped.me(&app).await.assert_problem(401, "invalid_token");
    swapped.refresh(&app).await.assert_ended("unknown_token");
    jar.me(&app).await.assert_status(200);
}

// Pages of other origins.

const SITE: &str = "sec-fetch-site";

/// What browsers say of requests that no page may send.
const FOREIGN: [&[(&str, &str)]; 9] = [
    &[],
    &[(SITE, "cross-site")],
    &[(SITE, "same-site")],
    &[(SITE, "cross-site"), ("origin", "https://evil.example")],
    &[(SITE, "same-site"), ("origin", "https://evil.login.example.com")],
    &[(SITE, "cross-site"), ("origin", "null")],
    &[("origin", "https://evil.example")],
    &[("origin", "null")],
    &[("origin", "http://app.example.com")],
];

/// What they say of those that may.
const FRIENDLY: [&[(&str, &str)]; 6] = [
    &[(SITE, "same-origin")],
    &[(SITE, "same-origin"), ("origin", HTTPS)],
    &[(SITE, "none")],
    &[(SITE, "same-site"), ("origin", LISTED)],
    &[("origin", LISTED)],
    &[("origin", HTTPS)],
];

fn from(page: &[(&str, &str)], call: Call) -> Call {
    page.iter().fold(call, |call, (name, value)| call.header(name, value))
}

#[tokio::test]
async fn a_foreign_page_changes_nothing() {
    let app = start().await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    let change = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
    for page in FOREIGN {
        for call in [
            app.post("/refresh"),
            app.post("/logout"),
            app.post("/logout?scope=all"),
            app.call("DELETE", &format!("/sessions/{}", user.tokens.session)),
            app.post("/me/password").json(&change),
            app.post("/me/close").json(&json!({ "password": PASSWORD })),
            app.get("/verify").header("x-original-method", "POST"),
        ] {
            let call = from(page, call.header("cookie", &jar.field()));
            let refused = call.send().await.assert_problem(403, "csrf_refused");
            assert_eq!(set(&refused), [""; 0]);
        }
        // Neither does it log its visitor in to an account of its own.
        let login = from(page, log_in(&app, &user.email)).send().await;
        assert_eq!(set(&login.assert_problem(403, "csrf_refused")), [""; 0]);
    }
    unharmed(&user, &jar).await;
}

#[tokio::test]
async fn a_form_or_a_link_from_anywhere_changes_nothing() {
    let app = start().await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    let fields = "refresh_token=x&password=y";
    for path in ["/login", "/refresh", "/logout", "/me/password", "/me/close"] {
        for media_type in
            ["application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "text/plain"]
        {
            // Even as the page itself.
            let call = jar.own(app.post(path)).body(media_type, fields);
            let answer = call.send().await;
            answer.assert_problem(415, "unsupported_media_type");
        }
        let link = app.get(path).header("cookie", &jar.field()).send().await;
        link.assert_problem(405, "method_not_allowed");
    }
    for path in ["/me", "/sessions", "/verify", "/healthz", "/readyz"] {
        let call = app.get(path).header("cookie", &jar.field()).header(SITE, "cross-site");
        let answer = call.send().await;
        assert_eq!(set(&answer), [""; 0]);
        assert!(answer.header("access-control-allow-origin").is_none());
    }
    unharmed(&user, &jar).await;
}

async fn unharmed(user: &User<'_>, jar: &Jar) {
    let app = user.app;
    assert_eq!(app.live_sessions(&user.id).await.len(), 2);
    jar.me(app).await.assert_status(200);
    user.me().await.assert_status(200);
    app.advance(31);
    assert_eq!(jar.refresh(app).await.assert_status(200).body["generation"], 1);
}

#[tokio::test]
async fn a_page_of_this_origin_or_of_a_listed_one_may() {
    let app = start().await;
    let user = app.signed_up().await;
    for page in FRIENDLY {
        let mut jar = Jar::default();
        jar.keep(&from(page, log_in(&app, &user.email)).send().await.assert_status(200));
        let with = |jar: &Jar, call: Call| from(page, call.header("cookie", &jar.field())).send();
        let refreshed = with(&jar, app.post("/refresh")).await.assert_status(200);
        jar.keep(&refreshed);
        let verify = app.get("/verify").header("x-forwarded-method", "DELETE");
        with(&jar, verify).await.assert_status(200);
        with(&jar, app.post("/logout")).await.assert_status(204);
    }
}

#[tokio::test]
async fn only_a_listed_origin_reads_an_answer_to_cookies() {
    let app = start().await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    for (origin, allowed) in [(LISTED, true), ("https://evil.example", false), ("null", false)] {
        for path in ["/me", "/sessions", "/verify"] {
            let call = app.get(path).header("cookie", &jar.field());
            let answer = call.header("x-original-method", "GET").header("origin", origin);
            let answer = answer.send().await;
            let names = ["access-control-allow-origin", "access-control-allow-credentials"];
            let permission = names.map(|name| answer.header(name));
            let expected = if allowed { [Some(origin), Some("true")] } else { [None, None] };
            assert_eq!(permission, expected, "{origin} {path}");
        }
    }
}

// Answers that overtake each other.

#[tokio::test]
async fn a_page_reloaded_ten_times_in_a_second_stays_logged_in() {
    let app = start().await;
    let user = app.signed_up().await;
    let mut jar = Jar::log_in(&app, &user.email).await;
    for round in 1..=3 {
        app.advance(31);
        let mut answers = join_all((0..10).map(|_| jar.refresh(&app))).await;
        // The last one first; and one is never heard.
        answers.reverse();
        for answer in answers.iter().skip(1) {
            assert_eq!(answer.clone().assert_status(200).body["generation"], round);
            jar.keep(answer);
        }
        assert_eq!(jar.refresh_names().len(), 1);
        jar.me(&app).await.assert_status(200);
    }
}

#[tokio::test]
async fn a_late_response_overwrites_no_newer_cookie() {
    let app = start().await;
    let user = app.signed_up().await;
    let mut jar = Jar::log_in(&app, &user.email).await;
    let late = jar.refresh(&app).await.assert_status(200);
    for _ in 0..4 {
        jar.keep(&jar.refresh(&app).await.assert_status(200));
        app.advance(31);
    }
    let newest = jar.refresh_names()[0].to_owned();
    jar.keep(&late);
    assert_eq!(jar.refresh_names().len(), 2, "{jar:?}");
    assert!(jar.0.contains_key(&newest));
    jar.me(&app).await.assert_status(200);
    let next = jar.refresh(&app).await.assert_status(200);
    assert_eq!(next.body["generation"], 5);
    jar.keep(&next);
    assert_eq!(jar.refresh_names().len(), 1, "what the late answer left is gone");
}

/// The model's client that stores nothing older over what is newer, with late answers; here it is
/// a browser that stores whatever comes.
#[tokio::test]
async fn no_order_of_answers_ends_a_session() {
    let app = start().await;
    let user = app.signed_up().await;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap() % bound
    };
    let mut one_name_would_end = false;
    for _ in 0..12 {
        let mut jar = Jar::log_in(&app, &user.email).await;
        let (mut under_way, mut current) = (Vec::<Answer>::new(), 0);
        // What the browser would hold if all refresh tokens had the same name.
        let mut last = 0;
        for _ in 0..60 {
            let newest = jar.refresh_names().iter().map(|name| generation(name)).max().unwrap();
            match below(4) {
                0 | 1 => {
                    one_name_would_end |= last + 1 < current;
                    let answer = jar.refresh(&app).await.assert_status(200);
                    current = answer.body["generation"].as_u64().unwrap();
                    under_way.push(answer);
                }
                2 if !under_way.is_empty() => {
                    let answer = under_way.swap_remove(below(under_way.len()));
                    // Some are lost.
                    if below(5) > 0 {
                        jar.keep(&answer);
                        last = answer.body["generation"].as_u64().unwrap();
                    }
                }
                // The window closes over a browser that has the present token.
                _ if newest == current => app.advance(31),
                _ => {}
            }
        }
        let newest = jar.refresh_names().iter().map(|name| generation(name)).max().unwrap();
        assert!(newest + 1 >= current, "{newest} is two behind {current}");
        jar.keep(&jar.refresh(&app).await.assert_status(200));
        assert_eq!(jar.refresh_names().len(), 1);
    }
    assert!(one_name_would_end, "the orders were not bad enough to show anything");
}

fn generation(name: &str) -> u64 {
    name.rsplit('-').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_late_answer_of_the_session_before_harms_the_next_one_in_nothing() {
    let app = start().await;
    let (before, after) = (app.signed_up().await, app.signed_up().await);
    for ending in ["/refresh", "/logout"] {
        let mut jar = Jar::log_in(&app, &before.email).await;
        let late = jar.own(app.post(ending)).send().await;
        app.advance(1);
        jar.keep(&jar.own(log_in(&app, &after.email)).send().await.assert_status(200));
        let present = jar.refresh_names()[0].to_owned();
        jar.keep(&late);
        assert!(jar.0.contains_key(&present), "{ending}");
        jar.keep(&jar.refresh(&app).await.assert_status(200));
        assert_eq!(jar.refresh_names().len(), 1);
        assert_eq!(jar.me(&app).await.assert_status(200).body["email"], after.email);
    }
    // And a logout then ends whatever the browser holds, also of two logins that were under way at
    // once, of which neither has replaced the other.
    let mut jar = Jar::log_in(&app, &before.email).await;
    let late = jar.refresh(&app).await;
    app.advance(1);
    let other = log_in(&app, &after.email).header("sec-fetch-site", "same-origin");
    jar.keep(&other.send().await);
    jar.keep(&late);
    let both = jar.clone();
    let refused = jar.own(app.post("/logout?scope=all")).send().await;
    refused.assert_problem(400, "multiple_credentials");
    assert_empties(&jar.own(app.post("/logout")).send().await.assert_status(204), &jar);
    both.me(&app).await.assert_problem(401, "token_revoked");
    both.refresh(&app).await.assert_ended("logout");
}

// For gateways.

#[tokio::test]
async fn a_gateway_gets_the_identity_of_a_request() {
    let app = start().await;
    let user = app.signed_up().await;
    let owner = id(&user.id);
    let promoted = app.db().write(move |tx| {
        let user = users::table.filter(users::id.eq(owner));
        let roles = users::roles.eq("editor auditor");
        diesel::update(user).set(roles).execute(tx.connection())
    });
    promoted.await.unwrap();
    let plain = app.get("/verify").bearer(&user.tokens.access).send().await.assert_status(200);
    assert_eq!(plain.text, "");
    assert_eq!(plain.header("cache-control"), Some("no-store"));
    assert_eq!(plain.header("x-auth-user"), Some(&*user.id));
    assert_eq!(plain.header("x-auth-session"), Some(&*user.tokens.session));
    assert_eq!(plain.header("x-auth-client"), Some("doorward"));
    assert_eq!(plain.header("x-auth-roles"), Some(""), "the token is from before");
    assert_eq!(plain.header("x-auth-scope"), Some(""));

    let jar = Jar::log_in(&app, &user.email).await;
    let call = app.get("/verify").header("cookie", &jar.field());
    let answer = call.header("x-forwarded-method", "GET").send().await.assert_status(200);
    assert_eq!(answer.header("x-auth-user"), Some(&*user.id));
    assert_eq!(answer.header("x-auth-roles"), Some("editor auditor"));

    user.log_out().await.assert_status(204);
    let refused = app.get("/verify").bearer(&user.tokens.access).send().await;
    let refused = refused.assert_problem(401, "token_revoked");
    assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer "));
    assert!(refused.headers.keys().all(|name| !name.as_str().starts_with("x-auth-")));
    app.get("/verify").send().await.assert_problem(401, "missing_token");
    app.get("/verify").bearer("eyJ").send().await.assert_problem(401, "invalid_token");
}

#[tokio::test]
async fn the_method_that_a_gateway_holds_counts_with_a_cookie_and_only_then() {
    let app = start().await;
    let user = app.signed_up().await;
    let jar = Jar::log_in(&app, &user.email).await;
    let (original, forwarded) = ("x-original-method", "x-forwarded-method");
    for (fields, passes) in [
        (&[(original, "GET")][..], true),
        (&[(forwarded, "HEAD")], true),
        (&[(original, "GET"), (forwarded, "OPTIONS")], true),
        (&[], false),
        (&[(original, "POST")], false),
        (&[(forwarded, "DELETE")], false),
        (&[(original, "get")], false),
        (&[(original, "")], false),
        (&[(original, "BREW")], false),
        (&[(original, "GET"), (forwarded, "POST")], false),
        (&[(original, "POST"), (forwarded, "GET")], false),
        (&[(original, "GET"), (original, "PUT")], false),
        (&[(original, "GET"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")], false),
    ] {
        let cookie = app.get("/verify").header("cookie", &jar.field());
        let foreign = from(fields, cookie).header(SITE, "cross-site").send().await;
        assert_eq!(foreign.status, if passes { 200 } else { 403 }, "{fields:?}");
        from(fields, jar.own(app.get("/verify"))).send().await.assert_status(200);
        let bearer = app.get("/verify").bearer(&user.tokens.access).header(SITE, "cross-site");
        from(fields, bearer).send().await.assert_status(200);
    }
}

#[tokio::test]
async fn verify_works_without_the_database_and_fails_closed() {
    let app = TestApp::with(|config| config.database.pool_size = 1).await;
    let user = app.signed_up().await;
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
    let busy = tokio::spawn(app.db().read(move |_| {
        begun.blocking_send(()).unwrap();
        let _ = held.recv();
        Ok(())
    }));
    has_begun.recv().await;
    app.get("/verify").bearer(&user.tokens.access).send().await.assert_status(200);
    drop(release);
    busy.await.unwrap().unwrap();

    let stale = TestApp::with(|config| config.revocations.max_staleness = Duration::ZERO).await;
    let user = stale.signed_up().await;
    let answer = stale.get("/verify").bearer(&user.tokens.access).send().await;
    answer.assert_problem(503, "revocations_stale");
}

// What a critical reading found.

#[tokio::test]
async fn a_name_is_ours_only_as_browsers_read_it() {
    let app = start().await;
    let (user, neighbour) = (app.signed_up().await, app.signed_up().await);
    let jar = Jar::log_in(&app, &user.email).await;
    let planted = Jar::log_in(&app, &neighbour.email).await;
    // To a browser no `__Host-` names: a page of a neighbour under the same domain may set them.
    let me = async |field: String| {
        let field = HeaderValue::from_bytes(field.as_bytes()).unwrap();
        let answer = app.http.get(app.url("/me")).header("cookie", field).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap()["email"].clone())
    };
    for blank in ["\u{2000}", "\u{a0}", "\u{feff}", "\u{85}"] {
        let field = format!("{blank}{}", planted.field());
        assert_eq!(me(field.clone()).await.0, 401, "{blank:?}");
        let both = format!("{}; {field}", jar.field());
        assert_eq!(me(both).await, (200, json!(user.email)), "{blank:?}");
    }
}

#[tokio::test]
async fn a_refresh_for_another_client_leaves_the_cookies() {
    let app = start().await;
    let client = app.public_client().await;
    let user = app.signed_up().await;
    let body = json!({ "email": user.email, "password": PASSWORD, "client_id": client.id,
        "transport": "cookie" });
    let call = app.post("/login").header("sec-fetch-site", "same-origin").json(&body);
    let mut jar = Jar::default();
    jar.keep(&call.send().await.assert_status(200));
    let refused = jar.own(app.post("/refresh")).send().await.assert_problem(401, "invalid_grant");
    assert_eq!(refused.body["reason"], "wrong_client");
    assert_eq!(set(&refused), Vec::<String>::new());
    let own = json!({ "client_id": client.id });
    jar.own(app.post("/refresh")).json(&own).send().await.assert_status(200);
}

#[tokio::test]
async fn the_origin_of_a_registered_client_may_call_but_not_with_cookies() {
    let app = start().await;
    let origins = vec!["https://shop.example.org".to_owned()];
    app.client(ClientKind::Public { origins, client_settings: ClientSettings::default() }).await;
    let user = app.signed_up().await;
    let may = async || {
        let answer =
            app.get("/me").bearer(&user.tokens.access).header("origin", "https://shop.example.org");
        answer.send().await
    };
    until(async || may().await.header("access-control-allow-origin").is_some()).await;
    assert_eq!(may().await.header("access-control-allow-credentials"), None);
}
