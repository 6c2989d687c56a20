//! Accounts and their sessions.

use serde_json::{Value, json};

use crate::support::client::{Answer, PASSWORD};
use crate::support::{TestApp, claims};

use super::{NOBODY, start, tag, text, token};

const WRITE: [&str; 3] = ["doorward:users.read", "doorward:users.write", "doorward:sessions.write"];

async fn show(app: &TestApp, desk: &str, user: &str) -> Answer {
    let path = format!("/admin/users/{user}");
    app.get(&path).bearer(desk).send().await.assert_status(200)
}

#[tokio::test]
async fn an_account_is_created_shown_changed_and_deleted() {
    let app = start().await;
    let desk = token(&app, &WRITE).await;
    let new = json!({ "email": "Ada@example.com", "password": PASSWORD, "roles": ["editor"] });
    let created = app.post("/admin/users").bearer(&desk).json(&new).send().await;
    let created = created.assert_status(201);
    let path = created.header("location").unwrap().to_owned();
    assert_eq!(created.body["roles"], json!(["editor"]));
    let again = app.post("/admin/users").bearer(&desk).json(&new).send().await;
    again.assert_problem(409, "email_taken");
    let tokens = app.log_in("ada@example.com", PASSWORD).await.tokens();
    assert_eq!(claims(&tokens.access)["roles"], json!(["editor"]));

    let shown = app.get(&path).bearer(&desk).send().await.assert_status(200);
    assert_eq!((&shown.body, tag(&shown)), (&created.body, tag(&created)), "a login moves nothing");
    let put = |roles: Value| {
        let call = app.call("PUT", &format!("{path}/roles")).bearer(&desk);
        call.json(&json!({ "roles": roles, "keep_sessions": true }))
    };
    let changed = put(json!(["auditor"])).header("if-match", &tag(&shown)).send().await;
    let changed = changed.assert_status(200);
    assert_eq!(changed.body["roles"], json!(["auditor"]));
    assert_ne!(tag(&changed), tag(&shown));
    app.me(&tokens.access).await.assert_status(200);
    let body = json!({ "claims": { "plan": "pro" }, "disabled": true });
    let changing = || app.call("PATCH", &path).bearer(&desk).json(&body);
    changing().send().await.assert_problem(428, "precondition_required");
    let stale = changing().header("if-match", &tag(&shown)).send().await;
    stale.assert_problem(412, "precondition_failed");
    let patched = changing().header("if-match", &tag(&changed)).send().await.assert_status(200);
    assert_eq!(patched.body["claims"], json!({ "plan": "pro" }));
    assert_eq!(patched.body["disabled"], true);
    app.me(&tokens.access).await.assert_problem(401, "token_revoked");

    let delete = |tag: &str| app.call("DELETE", &path).bearer(&desk).header("if-match", tag);
    delete(&tag(&changed)).send().await.assert_problem(412, "precondition_failed");
    delete(&tag(&patched)).send().await.assert_status(204);
    app.get(&path).bearer(&desk).send().await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn the_owners_own_changes_move_the_version() {
    let app = start().await;
    let desk = token(&app, &WRITE).await;
    let ada = app.signed_up().await;
    let before = show(&app, &desk, &ada.id).await;
    ada.change_password(PASSWORD, "eight walnuts paint the harbour").await.assert_status(200);
    assert_ne!(tag(&show(&app, &desk, &ada.id).await), tag(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_operators_who_change_an_account_at_once_is_refused() {
    let app = start().await;
    let node = app.another_node().await;
    let desk = token(&app, &WRITE).await;
    let ada = app.signed_up().await;
    for round in 0..10 {
        let read = tag(&show(&app, &desk, &ada.id).await);
        let change = |node: &TestApp, role: &str| {
            let call = node.call("PUT", &format!("/admin/users/{}/roles", ada.id)).bearer(&desk);
            let body = json!({ "roles": [format!("{role}{round}")] });
            call.header("if-match", &read).json(&body).send()
        };
        let (one, other) = tokio::join!(change(&app, "a"), change(&node, "b"));
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "{} {}", one.text, other.text);
        let won = if one.status == 200 { one } else { other };
        let shown = show(&app, &desk, &ada.id).await;
        assert_eq!((&shown.body["roles"], tag(&shown)), (&won.body["roles"], tag(&won)));
    }
}

#[tokio::test]
async fn a_role_that_was_taken_away_over_http_ends_the_sessions() {
    let app = start().await;
    let desk = token(&app, &WRITE).await;
    let mut ada = app.signed_up().await;
    let put = async |roles: Value| {
        let call = app.call("PUT", &format!("/admin/users/{}/roles", ada.id)).bearer(&desk);
        let answer = call.header("if-match", "*").json(&json!({ "roles": roles })).send().await;
        answer.assert_status(200)
    };
    put(json!(["admin"])).await;
    ada.tokens = app.refresh(&ada.tokens.refresh).await.tokens();
    assert_eq!(claims(&ada.tokens.access)["roles"], json!(["admin"]));
    put(json!([])).await;
    ada.me().await.assert_problem(401, "token_revoked");
    app.refresh(&ada.tokens.refresh).await.assert_ended("roles_changed");
}

#[tokio::test]
async fn accounts_are_listed_page_by_page_and_found_by_address() {
    let app = start().await;
    let desk = token(&app, &WRITE).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(app.signed_up().await.id);
    }
    ids.sort();
    let list = async |query: &str| {
        let path = format!("/admin/users{query}");
        app.get(&path).bearer(&desk).send().await.assert_status(200).body
    };
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = list(&query).await;
        seen.extend(page["users"].as_array().unwrap().iter().map(|user| text(&user["id"])));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&after={next}");
    }
    assert_eq!(seen, ids);
    let ada = app.signed_up().await;
    let email = ada.email.to_uppercase().replace('@', "%40");
    let found = list(&format!("?email={email}")).await;
    assert_eq!(found["users"].as_array().unwrap().len(), 1);
    assert_eq!(found["users"][0]["id"], ada.id.as_str());
    app.admin().disable(crate::support::id(&ada.id)).await.unwrap();
    assert_eq!(list("?disabled=true").await["users"][0]["id"], ada.id.as_str());
    assert_eq!(list("?disabled=false").await["users"].as_array().unwrap().len(), 5);
    for odd in ["?limit=0", "?limit=201", "?name=x", "?after=x"] {
        let path = format!("/admin/users{odd}");
        let answer = app.get(&path).bearer(&desk).send().await;
        answer.assert_problem(400, "malformed_request");
    }
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let app = start().await;
    let desk = token(&app, &WRITE).await;
    let (ada, other) = (app.signed_up().await, app.signed_up().await);
    let second = ada.another_session().await;
    let path = format!("/admin/users/{}/sessions", ada.id);
    let listed = app.get(&path).bearer(&desk).send().await.assert_status(200);
    assert_eq!(listed.body["sessions"].as_array().unwrap().len(), 2);
    let end = |path: String| app.call("DELETE", &path).bearer(&desk).send();
    // Another account's session is not this one's.
    end(format!("{path}/{}", other.tokens.session)).await.assert_problem(404, "not_found");
    other.me().await.assert_status(200);
    end(format!("{path}/{}", second.session)).await.assert_status(204);
    app.me(&second.access).await.assert_problem(401, "token_revoked");
    ada.me().await.assert_status(200);
    end(path).await.assert_status(204);
    ada.me().await.assert_problem(401, "token_revoked");
    end(format!("/admin/users/{NOBODY}/sessions")).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn an_account_is_created_with_a_password_hash() {
    let app = start().await;
    let desk = token(&app, &WRITE).await;
    let ada = app.signed_up().await;
    let hash = {
        use diesel::prelude::*;
        use doorward::database::schema::users;
        let row = users::table.find(crate::support::id(&ada.id)).select(users::password_hash);
        app.db().read(move |c| row.get_result::<String>(c)).await.unwrap()
    };
    let add = |body: Value| app.post("/admin/users").bearer(&desk).json(&body).send();
    let new = json!({ "email": "imported@example.com", "password_hash": hash });
    add(new).await.assert_status(201);
    app.log_in("imported@example.com", PASSWORD).await.assert_status(200);
    let costly = "$argon2id$v=19$m=1048576,t=10,p=1$c2FsdHNhbHRzYWx0$\
                  9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ";
    for (body, pointer) in [
        (json!({ "email": "x@example.com", "password_hash": "md5" }), "/password_hash"),
        (json!({ "email": "x@example.com", "password_hash": costly }), "/password_hash"),
        (json!({ "email": "x@example.com", "password": "short" }), "/password"),
        (json!({ "email": "x", "password": PASSWORD }), "/email"),
        (json!({ "email": "x@example.com", "password": PASSWORD, "roles": ["A"] }), "/roles"),
    ] {
        let answer = add(body).await.assert_problem(422, "invalid_fields");
        assert_eq!(answer.body["errors"][0]["pointer"], pointer);
    }
    for body in [
        json!({ "email": "x@example.com" }),
        json!({ "email": "x@example.com", "password": PASSWORD, "password_hash": hash }),
        json!({ "email": "x@example.com", "password": PASSWORD, "email_verified": 1 }),
    ] {
        add(body).await.assert_problem(400, "malformed_request");
    }
}
