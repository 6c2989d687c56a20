//! One source of credentials: tokens in addition to cookies, and cookies of one name.

use serde_json::json;

use crate::support::jar::Jar;
use crate::support::{PASSWORD, Tokens, raw};

use super::{NEW_PASSWORD, start};

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
async fn cookies_of_other_applications_are_ignored() {
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
