//! Pages of other origins that send custom headers, and pages that read public resources.

use doorward::clients::{ClientKind, ClientSettings};

use crate::support::{Answer, TestApp};

const ORIGIN: &str = "https://app.example.com";

async fn preflight(app: &TestApp, origin: &str, headers: &str) -> Answer {
    app.call("OPTIONS", "/refresh")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", headers)
        .send()
        .await
}

#[tokio::test]
async fn a_refused_header_is_named_and_a_listed_one_is_allowed() {
    let app = TestApp::with(|config| {
        config.cors.origins = vec![ORIGIN.into()];
        config.cors.headers = vec!["Sentry-Trace".into()];
    })
    .await;
    for headers in ["baggage", "sentry-trace", "baggage,content-type,sentry-trace,traceparent"] {
        preflight(&app, ORIGIN, headers).await.assert_status(200);
    }
    let refused = preflight(&app, ORIGIN, "baggage, x-requested-with,x-other").await;
    let detail = refused.assert_problem(400, "malformed_request").body["detail"].clone();
    let expected = "Pages may not send x-requested-with, x-other: list it in cors.headers, or leave \
                    it out.";
    assert_eq!(detail, expected);
    // A name that is not a valid header name is not quoted.
    let odd = preflight(&app, ORIGIN, "<script>").await.assert_problem(400, "malformed_request");
    assert!(!odd.text.contains("script"), "{}", odd.text);
}

#[tokio::test]
async fn a_rejected_origin_and_the_way_to_allow_it_are_named() {
    let app = TestApp::start().await;
    let refused = preflight(&app, ORIGIN, "content-type").await;
    let refused = refused.assert_problem(400, "malformed_request");
    for part in [ORIGIN, "cors.origins"] {
        assert!(refused.text.contains(part), "{}", refused.text);
    }
    let origins = vec!["https://shop.example.com".into()];
    let kind = ClientKind::Public { origins, client_settings: ClientSettings::default() };
    app.api.clients.add("Shop", kind).await.unwrap();
    crate::support::until(async || {
        preflight(&app, "https://shop.example.com", "baggage").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn every_page_may_read_the_keys_the_metadata_and_the_description() {
    let app = TestApp::with(|config| config.cors.origins = vec![ORIGIN.into()]).await;
    let user = app.signed_up().await;
    for path in
        ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/openapi.yaml"]
    {
        for (origin, allowed) in [("https://evil.example", "*"), ("null", "*"), (ORIGIN, ORIGIN)] {
            let answer = app.get(path).header("origin", origin).send().await.assert_status(200);
            assert_eq!(answer.header("access-control-allow-origin"), Some(allowed), "{path}");
            let credentials = answer.header("access-control-allow-credentials");
            assert_eq!(credentials.is_some(), origin == ORIGIN, "{path}");
        }
    }
    let etag = app.get("/.well-known/jwks.json").send().await.header("etag").unwrap().to_owned();
    let known = app.get("/.well-known/jwks.json").header("if-none-match", &etag);
    let known = known.header("origin", "https://evil.example").send().await.assert_status(304);
    assert_eq!(known.header("access-control-allow-origin"), Some("*"));
    let me = app.get("/me").bearer(&user.tokens.access).header("origin", "https://evil.example");
    assert_eq!(me.send().await.header("access-control-allow-origin"), None);
}
