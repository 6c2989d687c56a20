//! `docs/accounts.md` and `docs/second-factors.md`.

use std::fs;

use crate::support::client::PASSWORD;
use crate::support::docs;
use crate::support::shell::Shell;

#[tokio::test]
async fn an_operator_adds_and_manages_an_account() {
    let mut shell = Shell::new();
    let service = shell.start("doorward");
    shell.run(&docs::block("docs/accounts.md", "(umask 077; echo"));
    let email = "grace@example.com";
    service.log_in(email, "twelve geese paint ladders").await.unwrap().assert_status(200);

    let lines = docs::block("docs/accounts.md", "doorward user list");
    let (lines, delete) = lines.trim_end().rsplit_once('\n').unwrap();
    let said = shell.run(lines);
    assert!(said.contains(email), "{said}");
    let email = "grace@example.org";
    let password = "seven otters juggle lanterns";
    let login = service.log_in(email, password).await.unwrap().tokens();
    shell.run(delete);
    assert_eq!(service.refresh(&login.refresh, "0123456789abcdef").await.unwrap().status, 401);
    service.log_in(email, password).await.unwrap().assert_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn a_user_changes_the_password() {
    let mut shell = Shell::new();
    let service = shell.start("doorward");
    let lines = docs::block("docs/accounts.md", "URL=http://127.0.0.1:8080\nEMAIL=");
    let output = shell.run(&lines);
    let (account, tokens) = output.trim_end().split_once('\n').unwrap();
    assert!(tokens.contains("access_token"), "{output}");
    let email = email_of(account);
    service.log_in(&email, "nine herons borrow umbrellas").await.unwrap().assert_status(200);
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
    let email = "heidi@example.com";
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
    let requests = docs::block("docs/second-factors.md", "URL=http://127.0.0.1:8080\nfield");
    let commands = docs::block("docs/second-factors.md", "doorward session end --without-factor");
    let output = shell.run(&format!("{requests}{commands}"));
    let lines: Vec<&str> = output.lines().collect();
    let [account, marked, codes, me, recent, removed, .., reset] = lines[..] else {
        panic!("not six answers: {output}");
    };
    let parsed = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let codes = parsed(codes)["recovery_codes"].as_array().map(Vec::len);
    assert!(marked.starts_with("recorded as proven: "), "{output}");
    assert_eq!(codes, Some(10), "{output}");
    assert_eq!(parsed(me)["factors"][0], "totp");
    assert_eq!((recent, removed), ("200", "204"));
    assert!(reset.contains("it had no second factor"), "{output}");
    let password = "seven otters juggle lanterns";
    service.log_in(&email_of(account), password).await.unwrap().assert_status(200);
}

#[test]
fn the_requirement_of_a_second_factor_is_a_valid_setting() {
    let shell = Shell::new();
    let sample = docs::block("docs/second-factors.md", "[accounts]\nrequire_second_factor");
    fs::write(shell.home.path().join("doorward.toml"), sample).unwrap();
    let printed = shell.run("doorward config");
    assert!(printed.contains("accounts.require_second_factor = [\"admin\"]"), "{printed}");
    let by_variable = "DOORWARD_ACCOUNTS__REQUIRE_SECOND_FACTOR='[\"support\"]' doorward config";
    assert!(shell.run(by_variable).contains("= [\"support\"]"));
}

/// A newcomer's shell: the quick start, then the pages from the top, in one folder, twice.
#[test]
fn the_lines_work_one_after_another_and_again() {
    let mut shell = Shell::new();
    let quick_start = docs::block("README.md", "URL=");
    let pages = ["docs/accounts.md", "docs/second-factors.md"].map(docs::text);
    let blocks = pages.iter().flat_map(|text| docs::blocks(text));
    let blocks: Vec<String> =
        blocks.filter(|block| block.language == "sh").map(|block| block.text).collect();
    let restart = blocks.iter().position(|block| block.starts_with("VERIFIED=")).unwrap();
    let helpers: String =
        blocks[restart - 1].split_inclusive('\n').take(super::email::HELPERS).collect();
    let verifying = "export DOORWARD_ACCOUNTS__VERIFICATION=required\ndoorward";
    for _ in 0..2 {
        for (start, lines) in [
            ("doorward", quick_start.clone()),
            ("doorward", blocks[..restart].concat()),
            (verifying, format!("{helpers}{}", blocks[restart])),
            ("doorward", blocks[restart + 1..].concat()),
        ] {
            let service = shell.start(start);
            let output = shell.run(&lines);
            let refused = output.lines().find(|line| line.contains("\"status\":4"));
            assert!(lines == quick_start || refused.is_none(), "{output}");
            assert!(service.stop().0.success());
        }
        // An address is invited once.
        shell.run("doorward user delete heidi@example.com --yes");
    }
}

/// The address of an account, which the lines chose.
fn email_of(account: &str) -> String {
    let account: serde_json::Value = serde_json::from_str(account).expect(account);
    account["email"].as_str().unwrap().to_owned()
}
