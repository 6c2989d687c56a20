//! Rejected JSON bodies, and the members that the answer names.

use serde_json::{Value, json};

use crate::support::TestApp;
use crate::support::client::PASSWORD;

use super::{routes_with_body, unharmed};

#[tokio::test]
async fn a_body_that_is_not_a_json_object_is_rejected_everywhere() {
    let app = TestApp::with(|config| config.limits.max_body_bytes = 1 << 20).await;
    let user = app.signed_up().await;
    let deep = |open: &str, close: &str| open.repeat(100_000) + "1" + &close.repeat(100_000);
    let not_objects: Vec<Vec<u8>> = [
        "not JSON",
        " ",
        "[]",
        "[{}]",
        "null",
        "\"text\"",
        "1",
        "true",
        "{",
        "}",
        "{\"a\"",
        "{\"a\":}",
        "{'a':1}",
        "{a:1}",
        "{\"a\":1,}",
        "{} {}",
        "{}x",
        "{}\0",
        "{\"a\":01}",
        "{\"a\":NaN}",
        "{\"a\":1e999}",
        "{\"a\":\"line\nbreak\"}",
        "/**/{}",
        "\u{feff}{}",
        &deep("[", "]"),
        &deep("{\"a\":", "}"),
        &"[".repeat(100_000),
        &"{\"a\":".repeat(100_000),
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    let not_text = [
        b"{\"a\":\"\xff\"}".to_vec(),
        b"{\"a\":\"\xc0\x80\"}".to_vec(),
        b"{\"a\":\"\xed\xa0\x80\"}".to_vec(),
        b"\xff\xfe{\0}\0".to_vec(),
        vec![0; 100],
    ];
    for (path, _) in routes_with_body() {
        for body in not_objects.iter().chain(&not_text) {
            let call = app.post(path).bearer(&user.tokens.access);
            let answer = call.body("application/json", body.clone()).send().await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            assert_eq!(answer.body["code"], "malformed_request", "{path} {shown}");
            assert!(answer.text.len() < 1000, "{path} {shown}: nothing of it is quoted");
        }
    }
    unharmed(user).await;
}

#[tokio::test]
async fn members_that_can_be_read_in_two_ways_are_refused_everywhere() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for (path, good) in routes_with_body() {
        let good = good.to_string();
        let name = good.split('"').nth(1).unwrap();
        let escaped = format!("\\u{:04x}{}", u32::from(name.as_bytes()[0]), &name[1..]);
        let more = |member: &str| format!("{},{member}}}", good.strip_suffix('}').unwrap());
        let only = |value: &str| format!("{{\"{name}\":{value}}}");
        for body in [
            more(&format!("\"{name}\":\"other\"")),
            more(&format!("\"{escaped}\":\"other\"")),
            only(r#"{"a":1,"a":2}"#),
            only(r#"[{"a":{"b":1,"\u0062":1}}]"#),
            only(&("[".repeat(17) + &"]".repeat(17))),
            only(&("[".repeat(5000) + &"]".repeat(5000))),
            only(r#""\u0000""#),
            only(r#""a\u0000b""#),
            only(r#"["\u0000"]"#),
            only("\"\0\""),
            only(r#""\ud800""#),
            only(r#""\udc00""#),
            only(r#""\ud800\ud800""#),
            only(r#""\udc00\ud800""#),
            only(r#""\ud83dx""#),
            format!("{{\"{name}\\u0000\":\"a\"}}"),
            format!("{{\"\\ud800\":\"a\",{}", &good[1..]),
        ] {
            let call = app.post(path).bearer(&user.tokens.access);
            let answer = call.body("application/json", body.clone()).send().await;
            assert_eq!(answer.body["code"], "malformed_request", "{path} {body}: {}", answer.text);
        }
    }
    unharmed(user).await;
}

#[tokio::test]
async fn unknown_missing_and_mistyped_members_are_refused_and_named() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    for (path, good) in routes_with_body() {
        let refusal = async |body: &Value, pointer: &str| {
            let call = app.post(path).bearer(&user.tokens.access);
            let answer = call.json(body).send().await.assert_problem(400, "malformed_request");
            assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{path} {body}");
            answer
        };
        for name in ["roles", "id", "is_admin", "disabled_at", "email_key", "password_hash"] {
            let mut body = good.clone();
            body[name] = json!(["admin"]);
            refusal(&body, &format!("/{name}")).await;
        }
        let mut body = good.clone();
        body["a/b~c"] = json!(1);
        refusal(&body, "/a~1b~0c").await;
        for name in good.as_object().unwrap().keys() {
            let pointer = format!("/{name}");
            for wrong in [json!(1), json!(-1.5), json!(true), json!([]), json!(["a"]), json!({})] {
                let mut body = good.clone();
                body[name] = wrong;
                refusal(&body, &pointer).await;
            }
            if path != "/logout" {
                let mut body = good.clone();
                body[name] = Value::Null;
                refusal(&body, &pointer).await;
                body.as_object_mut().unwrap().remove(name);
                refusal(&body, &pointer).await;
            }
        }
    }
    unharmed(user).await;
}

#[tokio::test]
async fn roles_and_ids_cannot_be_set_by_signing_up() {
    let app = TestApp::start().await;
    let body = json!({ "email": "eve@example.com", "password": PASSWORD, "roles": ["admin"] });
    app.post("/register").json(&body).send().await.assert_status(400);
    app.log_in("eve@example.com", PASSWORD).await.assert_status(401);
    let user = app.signed_up().await;
    assert_eq!(user.me().await.assert_status(200).body["roles"], json!([]));
}
