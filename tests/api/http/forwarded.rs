//! Headers in which a request names its own host, scheme and address.

use std::time::Duration;

use serde_json::json;

use crate::support::app::ISSUER;
use crate::support::client::PASSWORD;
use crate::support::{TestApp, claims, raw};

#[tokio::test]
async fn no_header_changes_the_issuer_or_a_url() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let plain = app.get("/.well-known/oauth-authorization-server").send().await;
    for (name, value) in [
        ("host", "evil.example"),
        ("host", "evil.example:443"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/evil"),
        ("x-original-url", "/me"),
        ("x-rewrite-url", "/me"),
        ("x-http-method-override", "POST"),
        ("forwarded", "host=evil.example;proto=https"),
    ] {
        let call = app.get("/.well-known/oauth-authorization-server").header(name, value);
        assert_eq!(call.send().await.assert_status(200).body, plain.body, "{name}");
        let body = json!({ "email": user.email, "password": PASSWORD });
        let tokens = app.post("/login").header(name, value).json(&body).send().await.tokens();
        assert_eq!(claims(&tokens.access)["iss"], ISSUER, "{name}");
        app.me(&tokens.access).await.assert_status(200);
        let call = app.get("/nowhere").header(name, value);
        let answer = call.send().await.assert_problem(404, "not_found");
        assert!(!answer.text.contains("evil"), "{name}");
    }
    let absolute =
        "GET http://evil.example/healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let text = raw::exchange(&app, absolute.as_bytes(), Duration::from_secs(2)).await;
    assert!(!text.contains("evil"));
}

#[tokio::test]
async fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
    let forwarded = "198.51.100.7";
    for (trusted, forwarded, address) in [
        (&[][..], forwarded, "127.0.0.1"),
        (&["10.0.0.0/8"], forwarded, "127.0.0.1"),
        (&["127.0.0.0/8"], "203.0.113.1, 198.51.100.7", forwarded),
        (&["127.0.0.0/8"], "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
    ] {
        let app = TestApp::with(|config| {
            config.trusted_proxies = trusted.iter().map(|it| it.parse().unwrap()).collect();
        })
        .await;
        let user = app.signed_up().await;
        let body = json!({ "email": user.email, "password": PASSWORD });
        let call = app.post("/login").header("x-forwarded-for", forwarded).json(&body);
        let call = call.header("x-real-ip", "192.0.2.9").header("forwarded", "for=192.0.2.9");
        let tokens = call.send().await.tokens();
        let sessions = app.get("/sessions").bearer(&tokens.access).send().await.assert_status(200);
        let sessions = sessions.body["sessions"].as_array().unwrap().clone();
        let own = sessions.iter().find(|session| session["current"] == true).unwrap();
        assert_eq!(own["address"], address, "{forwarded} through {trusted:?}");
    }
}
