//! Paths and methods: the router serves those of `openapi.yaml`, and rejects all others.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::contract::Contract;
use crate::support::{TestApp, raw};

use super::assert_guarded;

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "BREW"];

#[test]
fn the_router_and_openapi_yaml_know_the_same_operations() {
    let (mut known, admin) = (router(), include_str!("../../../src/http/admin_routes.rs"));
    known.extend(routes_in(admin, "/admin"));
    assert_eq!(known, Contract::load().operations());
}

#[tokio::test]
async fn other_methods_get_a_405_that_lists_the_allowed_ones() {
    let app = TestApp::start().await;
    for (path, known) in by_path(&router()) {
        let path = path.replace("{id}", "019ab3d4-5c2e-7a10-8f3e-2b6d1c9e4a75");
        let unknown = |method: &&str| match *method {
            "HEAD" => !known.contains("GET"),
            method => !known.contains(method),
        };
        for method in METHODS.into_iter().filter(unknown) {
            let answer = app.call(method, &path).send().await.assert_status(405);
            let allow = answer.header("allow").unwrap();
            let allowed: BTreeSet<String> =
                allow.split(',').map(|method| method.trim().to_owned()).collect();
            assert_eq!(allowed, known, "{method} {path}");
            let is_said = answer.body["code"] == "method_not_allowed"
                || answer.body["error"] == "invalid_request";
            assert!(method == "HEAD" || is_said, "{method} {path}");
            assert_guarded(&answer);
        }
    }
}

#[tokio::test]
async fn head_is_answered_as_get_without_the_body() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for operation in router() {
        let Some(path) = operation.strip_prefix("GET ") else { continue };
        for token in [Some(user.tokens.access.as_str()), None] {
            let asked = async |method: &str| {
                let call = app.call(method, path);
                token.map_or(app.call(method, path), |token| call.bearer(token)).send().await
            };
            let (get, head) = (asked("GET").await, asked("HEAD").await);
            assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
            let compared = ["content-type", "cache-control", "etag", "www-authenticate"];
            for name in compared {
                assert_eq!(head.header(name), get.header(name), "{path}: {name}");
            }
            assert_guarded(&head);
        }
    }
}

#[tokio::test]
async fn a_path_that_does_not_exist_is_a_404_for_every_method() {
    let app = TestApp::start().await;
    for path in [
        "/nowhere",
        "/docs/",
        "/login/",
        "//login",
        "/Login",
        "/me/nothing",
        "/sessions/",
        "/sessions/a/b",
        "/%6cogi%6e%2f",
        "/.well-known",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/%",
        "/%zz",
        "/%ff%fe",
        "/%00",
    ] {
        for method in METHODS {
            let answer = app.call(method, path).send().await.assert_status(404);
            assert_guarded(&answer);
        }
    }
    for path in ["/../login", "/./login", "/me/../login", "/login;x=1", "/sessions/../me"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = raw::send(&app, head).await;
        assert!([404, 405].contains(&answer.status), "{path}: {}", answer.text);
    }
}

/// The router's operations, as `GET /path/{parameter}`, parsed from its source.
fn router() -> BTreeSet<String> {
    routes_in(include_str!("../../../src/http/routes.rs"), "")
}

fn routes_in(source: &str, prefix: &str) -> BTreeSet<String> {
    let services = source.split(".service(").skip(1);
    services
        .filter_map(|service| service.split_once("(\"")?.1.split_once('"'))
        .filter(|(path, _)| path.starts_with('/'))
        .flat_map(|(path, rest)| {
            let known = ["get", "post", "put", "patch", "delete"];
            let own = rest
                .split([".default_service", "config.service"][usize::from(!prefix.is_empty())])
                .next()
                .unwrap();
            let methods = known.iter().filter(|method| own.contains(&format!(".{method}(")));
            let methods: Vec<String> =
                methods.map(|it| format!("{} {prefix}{path}", it.to_uppercase())).collect();
            assert!(!methods.is_empty(), "{path}");
            methods
        })
        .collect()
}

fn by_path(operations: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for operation in operations {
        let (method, path) = operation.split_once(' ').unwrap();
        paths.entry(path.to_owned()).or_default().insert(method.to_owned());
    }
    paths
}
