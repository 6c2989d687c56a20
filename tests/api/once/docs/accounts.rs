//! `docs/accounts.md`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use crate::support::client::PASSWORD;
use crate::support::docs;
use crate::support::shell::Shell;

#[tokio::test]
async fn an_operator_adds_and_manages_an_account() {
    let mut shell = Shell::new();
    let service = shell.start("doorward");
    for (name, password) in
        [("initial-password", "twelve geese paint ladders"), ("new-password", PASSWORD)]
    {
        let file = shell.home.path().join(name);
        fs::write(&file, format!("{password}\n")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }
    shell.run(&docs::block("docs/accounts.md", "doorward user add"));
    let email = "grace@example.com";
    service.log_in(email, "twelve geese paint ladders").await.unwrap().assert_status(200);

    let lines = docs::block("docs/accounts.md", "doorward user list");
    let (lines, delete) = lines.trim_end().rsplit_once('\n').unwrap();
    let said = shell.run(lines);
    assert!(said.contains(email), "{said}");
    let email = "grace@example.org";
    let login = service.log_in(email, PASSWORD).await.unwrap().tokens();
    shell.run(delete);
    assert_eq!(service.refresh(&login.refresh, "0123456789abcdef").await.unwrap().status, 401);
    service.log_in(email, PASSWORD).await.unwrap().assert_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn a_user_changes_the_password() {
    let mut shell = Shell::new();
    let service = shell.start("doorward");
    let (email, old) = ("ada@example.com", "seven otters juggle lanterns");
    service.register(email, old).await.unwrap().assert_status(201);
    let change = docs::block("docs/accounts.md", "URL=http://127.0.0.1:8080\ncurl");
    let said = shell.run_logged_in(email, old, &change);
    assert!(said.contains("access_token"), "{said}");
    let new = "nine herons borrow umbrellas";
    service.log_in(email, new).await.unwrap().assert_status(200);
}

#[test]
fn the_cost_of_a_hash_is_measured() {
    let said = Shell::new().run(&docs::block("docs/accounts.md", "doorward hash calibrate"));
    assert!(said.contains("iterations = "), "{said}");
}

#[tokio::test]
async fn roles_and_claims_are_granted_and_taken_away() {
    let mut shell = Shell::new();
    let service = shell.start("doorward");
    let email = "grace@example.com";
    service.register(email, PASSWORD).await.unwrap().assert_status(201);
    let lines = docs::block("docs/accounts.md", "doorward user roles add");
    let (grants, clear) = lines.trim_end().rsplit_once('\n').unwrap();
    shell.run(grants);
    let tokens = service.log_in(email, PASSWORD).await.unwrap().tokens();
    let claims = crate::support::claims(&tokens.access);
    assert_eq!((&claims["roles"][0], &claims["ext"]["plan"]), (&"editor".into(), &"pro".into()));
    let said = shell.run(clear);
    assert!(said.contains("10 min"), "{said}");
    service.me(&tokens.access).await.unwrap().assert_status(200);
}

#[tokio::test]
async fn a_person_is_invited() {
    let mut shell = Shell::new();
    let service = shell.start("doorward");
    let said = shell.run(&docs::block("docs/accounts.md", "doorward user invite"));
    assert!(said.contains("/reset#token=dwm_") && said.contains("mailed as well"), "{said}");
    let listed = shell.run("doorward user list");
    assert!(listed.contains("heidi@example.com  invited"), "{listed}");
    drop(service);
}

#[tokio::test]
async fn an_authenticator_app_is_set_up_used_and_removed() {
    let mut shell = Shell::new();
    let service = shell.start("doorward");
    let output = shell.run(&docs::block("docs/accounts.md", "URL=http://127.0.0.1:8080\nfield"));
    let lines: Vec<&str> = output.lines().collect();
    let [_, codes, me, recent, removed] = lines[..] else { panic!("not five answers: {output}") };
    let parsed = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let codes = parsed(codes)["recovery_codes"].as_array().map(Vec::len);
    assert_eq!(codes, Some(10), "{output}");
    assert_eq!(parsed(me)["factors"][0], "totp");
    assert_eq!((recent, removed), ("200", "204"));
    let said = shell.run(&docs::block("docs/accounts.md", "doorward session end --without-factor"));
    assert!(said.contains("it had no second factor"), "{said}");
    service.log_in("ada@example.com", PASSWORD).await.unwrap().assert_status(200);
}

#[test]
fn the_requirement_of_a_second_factor_is_a_valid_setting() {
    let shell = Shell::new();
    let sample = docs::block("docs/accounts.md", "[accounts]\nrequire_second_factor");
    fs::write(shell.home.path().join("doorward.toml"), sample).unwrap();
    let printed = shell.run("doorward config");
    assert!(printed.contains("accounts.require_second_factor = [\"admin\"]"), "{printed}");
    let by_variable = "DOORWARD_ACCOUNTS__REQUIRE_SECOND_FACTOR='[\"support\"]' doorward config";
    assert!(shell.run(by_variable).contains("= [\"support\"]"));
}
