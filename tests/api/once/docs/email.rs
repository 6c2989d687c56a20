//! `docs/email.md`, and the lines about e-mail in `docs/accounts.md`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use doorward::mail::messages::MessageKind;
use serde_json::Value;

use crate::support::docs;
use crate::support::shell::Shell;

/// The lines of the first sample that define helpers.
pub(super) const HELPERS: usize = 4;

#[track_caller]
fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn an_address_is_proven_and_a_password_is_reset() {
    let mut shell = Shell::new();
    let service = shell.start("doorward");
    let output = shell.run(&docs::block("docs/accounts.md", "URL=http://127.0.0.1:8080\nOUTBOX"));
    let lines: Vec<&str> = output.lines().collect();
    let [register, confirmed, me, forgot, reset, login] = lines[..] else {
        panic!("not six answers, a line each: {output}");
    };
    assert_eq!(confirmed, "204");
    assert_eq!(json(me)["id"], json(register)["id"]);
    assert_eq!(json(me)["email_verified"], true);
    assert!(json(forgot)["request"].as_str().unwrap().starts_with("dwq_"));
    assert_eq!(json(reset)["token_type"], "Bearer");
    assert_eq!(json(login)["token_type"], "Bearer");
    assert!(service.stop().0.success());
}

#[test]
fn a_registration_proves_its_address() {
    let mut shell = Shell::new();
    let service = shell.start("export DOORWARD_ACCOUNTS__VERIFICATION=required\ndoorward");
    let helpers = docs::block("docs/accounts.md", "URL=http://127.0.0.1:8080\nOUTBOX");
    let helpers: Vec<&str> = helpers.lines().take(HELPERS).collect();
    let lines = docs::block("docs/accounts.md", "VERIFIED=");
    let output = shell.run(&format!("{}\n{lines}", helpers.join("\n")));
    let lines: Vec<&str> = output.lines().collect();
    let [account, login] = lines[..] else { panic!("not two answers: {output}") };
    assert!(json(account)["email"].as_str().unwrap().starts_with("judy-"), "{account}");
    assert_eq!(json(login)["token_type"], "Bearer");
    assert!(service.stop().0.success());
}

#[test]
fn the_settings_of_a_mail_server_are_valid() {
    let shell = Shell::new();
    let home = shell.home.path();
    let (file, url) = (home.join("doorward.toml"), home.join("mail-url"));
    fs::write(&url, "smtps://user:password@mail.example.com\n").unwrap();
    let sample = docs::block("docs/email.md", "public_url = ");
    fs::write(&file, sample.replace("/run/secrets/mail-url", url.to_str().unwrap())).unwrap();
    for path in [&file, &url] {
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }
    let printed = shell.run("doorward config");
    for expected in ["verification = \"required\"", "email.url_file = ", "/reset#token={token}"] {
        assert!(printed.contains(expected), "{printed}");
    }
}

#[test]
fn the_commands_send_show_and_list_messages() {
    let mut shell = Shell::new();
    let service = shell.start("doorward");
    let output = shell.run(&docs::block("docs/email.md", "doorward mail test"));
    for expected in ["sent to you@example.com", "Subject: Set a new password", "waiting: 0"] {
        assert!(output.contains(expected), "{output}");
    }
    assert!(service.stop().0.success());
}

#[test]
fn every_message_is_documented() {
    let page = docs::text("docs/email.md");
    for message in MessageKind::ALL {
        assert!(page.contains(&format!("`{}`", message.as_str())), "{message:?}");
    }
}
