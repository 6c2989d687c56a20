//! `docs/mobile-apps.md` and `docs/oauth-clients.md`.

use serde_json::Value;

use crate::support::client::PASSWORD;
use crate::support::docs;
use crate::support::shell::Shell;

const EMAIL: &str = "ada@example.com";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[tokio::test]
async fn a_phone_logs_in_and_refreshes_with_a_key() {
    let mut shell = Shell::new();
    let service = shell.start("doorward");
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let login =
        docs::block("docs/mobile-apps.md", "URL=http://127.0.0.1:8080\ncurl -sS $URL/login");
    assert_eq!(json(&shell.run(&login))["generation"], 0);
    let refresh = docs::block("docs/mobile-apps.md", "URL=http://127.0.0.1:8080\nKEY=");
    assert_eq!(json(&shell.run_logged_in(EMAIL, PASSWORD, &refresh))["generation"], 1);
}

#[test]
fn clients_are_registered_used_and_removed() {
    let mut shell = Shell::new();
    let service = shell.start("doorward");
    let lines = docs::block("docs/oauth-clients.md", "doorward client add");
    let (lines, remove) = lines.trim_end().rsplit_once('\n').unwrap();
    let said = shell.run(lines);
    assert!(said.contains("Shop") && said.contains("https://shop.example.com"), "{said}");

    let requests = docs::block("docs/oauth-clients.md", "ORDERS=");
    let said = shell.run(&format!("{requests}echo $CLIENT_ID"));
    let [active, status, inactive, id] = said.lines().collect::<Vec<_>>()[..] else {
        panic!("three answers: {said}");
    };
    assert_eq!(json(active)["scope"], "orders:read");
    assert_eq!((json(active)["active"].as_bool(), status), (Some(true), "200"));
    assert_eq!(inactive, r#"{"active":false}"#);

    let change = docs::block("docs/oauth-clients.md", "doorward client set");
    let said = shell.run(&change.replace("019ab3e1-0b52-7e90-a2c6-5d41f7b80a93", id));
    assert!(said.contains("dws_"), "{said}");
    assert!(shell.run("doorward client list").contains("Orders API"));

    let remove = remove.replace("019ab3e1-0b52-7e90-a2c6-5d41f7b80a93", id);
    shell.run(&remove);
    assert!(!shell.run("doorward client list").contains(id));
    assert!(service.stop().0.success());
}

#[test]
fn the_contract_lists_every_reason_of_the_api() {
    let api: Value = serde_norway::from_str(&docs::text("openapi.yaml")).unwrap();
    let page = docs::text("docs/client-contract.md");
    for reason in api["components"]["schemas"]["EndReason"]["enum"].as_array().unwrap() {
        let cell = format!("`{}`", reason.as_str().unwrap());
        assert!(page.contains(&cell), "{cell}");
    }
}
