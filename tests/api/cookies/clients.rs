//! Cookie names as browsers read them, and cookies of registered clients.

use doorward::clients::{ClientKind, ClientSettings};
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use crate::support::jar::Jar;
use crate::support::{PASSWORD, until};

use super::{set, start};

#[tokio::test]
async fn a_cookie_name_matches_only_as_browsers_parse_it() {
    let app = start().await;
    let (user, neighbour) = (app.signed_up().await, app.signed_up().await);
    let jar = Jar::log_in(&app, &user.email).await;
    let planted = Jar::log_in(&app, &neighbour.email).await;
    // Not `__Host-` names to a browser: a page of a neighbour under the same domain may set them.
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
