//! How a client proves who it is.

use std::collections::BTreeSet;

use crate::support::{Answer, Client, TestApp};

use super::{ENDPOINTS, form};

fn basic(id: &str, secret: &str) -> String {
    use base64::Engine as _;
    let both = format!("{id}:{secret}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
}

#[tokio::test]
async fn a_service_authenticates_in_the_header_or_in_the_form() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let (id, secret) = (service.id.as_str(), service.secret.as_str());
    let header = |value: &str| {
        form(&app, "/introspect", &[("token", "x")]).header("authorization", value).send()
    };
    header(&basic(id, secret)).await.assert_status(200);
    header(&basic(id, secret).replace("Basic", "bAsIc")).await.assert_status(200);
    // RFC 6749 2.3.1: each is form-encoded; oauth4webapi escapes more than it must.
    let escaped = |text: &str| text.replace('-', "%2D").replace('_', "%5F");
    header(&basic(&escaped(id), &escaped(secret))).await.assert_status(200);
    let posted = [("token", "x"), ("client_id", id), ("client_secret", secret)];
    form(&app, "/introspect", &posted).send().await.assert_status(200);
    let twice = form(&app, "/introspect", &[("token", "x"), ("client_id", id)]).client(&service);
    twice.send().await.assert_status(200);
}

#[tokio::test]
async fn two_authentication_methods_or_half_of_one_are_rejected() {
    let app = TestApp::start().await;
    let service = app.service(&[]).await;
    let (id, secret) = (("client_id", service.id.as_str()), ("client_secret", &*service.secret));
    for path in ENDPOINTS {
        let base = [("token", "x"), ("grant_type", "client_credentials")];
        let with = |more: &[(&str, &str)]| form(&app, path, &[&base, more].concat());
        for call in [
            with(&[id, secret]).client(&service),
            with(&[secret]).client(&service),
            with(&[("client_id", "doorward")]).client(&service),
            with(&[secret]),
            with(&[]).client(&service).header("authorization", &basic("a", "b")),
        ] {
            let answer = call.send().await.assert_oauth(400, "invalid_request");
            assert!(answer.header("www-authenticate").is_none());
            assert!(!answer.text.contains(&service.secret));
        }
    }
}

#[tokio::test]
async fn failed_client_authentication_reveals_nothing() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (service, other) = (app.service(&[]).await, app.service(&[]).await);
    let shop = app.public_client().await;
    let (id, secret) = (service.id.as_str(), service.secret.as_str());
    let mut last = secret.to_owned();
    let end = if last.pop() == Some('A') { 'Q' } else { 'A' };
    last.push(end);
    let nobody = "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75";
    for path in ENDPOINTS {
        let token = user.tokens.refresh.as_str();
        let base = [("token", token), ("grant_type", "client_credentials")];
        let mut answers = Vec::new();
        for (id, secret) in [
            (id, last.as_str()),
            (id, &other.secret),
            (id, ""),
            (id, "wrong"),
            (id, &secret[1..]),
            (id, &secret.to_uppercase()),
            (nobody, secret),
            (&id.to_uppercase(), secret),
            ("doorward", secret),
            (&shop.id, secret),
            (&shop.id, ""),
            ("", ""),
            ("\u{e4}", "' OR 1=1 --"),
        ] {
            let header = form(&app, path, &base).header("authorization", &basic(id, secret));
            answers.push(header.send().await);
            if secret.is_ascii() && id.is_ascii() && !id.is_empty() && !secret.is_empty() {
                let more = [("client_id", id), ("client_secret", secret)];
                answers.push(form(&app, path, &[&base[..], &more].concat()).send().await);
            }
        }
        let first = answers[0].clone().assert_oauth(401, "invalid_client");
        assert_eq!(first.header("www-authenticate"), Some(r#"Basic realm="doorward""#));
        for answer in answers {
            assert_eq!((answer.status, &answer.text), (401, &first.text));
            let names = |answer: &Answer| {
                answer.headers.keys().map(ToString::to_string).collect::<BTreeSet<_>>()
            };
            assert_eq!(names(&answer), names(&first));
        }
        for scheme in [
            format!("Bearer {}", user.tokens.access),
            format!("Digest {}", basic(id, secret)),
            "Basic".into(),
            "Basic ?".into(),
            String::new(),
        ] {
            let call = form(&app, path, &base).header("authorization", &scheme);
            call.send().await.assert_oauth(401, "invalid_client");
        }
        let assertion = [("client_id", id), ("client_assertion", "a.b.c")];
        let asserted = form(&app, path, &[&base[..], &assertion].concat()).send().await;
        asserted.assert_oauth(401, "invalid_client");
    }
    for path in ["/token", "/introspect"] {
        let base = [("token", "x"), ("grant_type", "client_credentials")];
        for more in [&[][..], &[("client_id", shop.id.as_str())], &[("client_id", id)]] {
            let call = form(&app, path, &[&base[..], more].concat());
            call.send().await.assert_oauth(401, "invalid_client");
        }
    }
    app.me(&user.tokens.access).await.assert_status(200);
}

#[tokio::test]
async fn only_failures_count_and_authenticated_clients_are_never_blocked() {
    let app = TestApp::with(|config| {
        config.limits.login_burst = 5;
        config.limits.login_per_minute = 1;
    })
    .await;
    let service = app.service(&[]).await;
    for _ in 0..20 {
        app.introspect(&service, "x").await.assert_status(200);
    }
    let stranger = Client { id: service.id.clone(), secret: "guess".into() };
    for _ in 0..5 {
        app.introspect(&stranger, "x").await.assert_oauth(401, "invalid_client");
    }
    let refused = app.introspect(&stranger, "x").await;
    let refused = refused.assert_oauth(429, "temporarily_unavailable");
    assert!(refused.header("retry-after").is_some());
    app.introspect(&service, "x").await.assert_status(200);
}
