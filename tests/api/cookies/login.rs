//! Which cookies a login sets.

use doorward::config::SameSite;
use serde_json::{Value, json};

use crate::support::jar::{HTTPS, Jar, log_in};
use crate::support::{PASSWORD, TestApp};

use super::{set, start};

#[tokio::test]
async fn a_login_with_cookies_shows_the_page_no_token() {
    let app = start().await;
    let user = app.signed_up().await;
    let call = log_in(&app, &user.email).header("sec-fetch-site", "same-origin");
    let answer = call.send().await.assert_status(200);
    let session = answer.body["session_id"].as_str().unwrap().replace('-', "");
    let members: Vec<&String> = answer.body.as_object().unwrap().keys().collect();
    let told = [
        "expires_in",
        "generation",
        "refresh_expires_in",
        "retry_window",
        "session_id",
        "token_type",
    ];
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
async fn the_setting_determines_which_sites_send_cookies() {
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
