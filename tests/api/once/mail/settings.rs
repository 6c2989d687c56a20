//! Settings under which mail or registrations could not work.

use crate::support::app::ISSUER;
use crate::support::binary::{data_of, doorward, home, run};

const FROM: (&str, &str) = ("EMAIL__FROM", "a@example.com");

#[test]
fn settings_without_working_mail_refuse_to_start() {
    for (variables, said) in [
        (vec![("ACCOUNTS__VERIFICATION", "required")], "email.url"),
        (
            vec![
                ("ACCOUNTS__VERIFICATION", "required"),
                ("EMAIL__URL", "file:"),
                ("PUBLIC_URL", "https://login.example.com"),
            ],
            "accounts.verification",
        ),
        (vec![("EMAIL__URL", "smtps://mail.example.com")], "email.from"),
        (vec![("EMAIL__URL", "smtps://ada:hunter2@mail.example.com/x")], "email.url"),
        (vec![("EMAIL__URL", "smtps://mail..example.com"), FROM], "email.url"),
        (vec![("EMAIL__FROM", "nobody")], "email.from"),
        (vec![("EMAIL__TEMPLATES", "/dev/null")], "email.templates"),
        (vec![("EMAIL__LINKS__RESET", "https://app.example.com/reset?token={token}")], "links"),
        (vec![("EMAIL__LINKS__RESET", "https://app.example.com/reset")], "email.links.reset"),
        (vec![("EMAIL__TEMPLATES", "/nowhere/at/all")], "email.templates"),
        (vec![("EMAIL__CODE_LIFETIME", "2d")], "email.code_lifetime"),
    ] {
        let home = home();
        let mut command = doorward(home.path());
        command.env("DOORWARD_PUBLIC_URL", ISSUER);
        for (name, value) in &variables {
            command.env(format!("DOORWARD_{name}"), value);
        }
        let refusal = run(&mut command);
        assert_eq!(refusal.status.code(), Some(2), "{variables:?}: {}", refusal.stderr);
        assert!(!data_of(home.path()).exists(), "{variables:?}");
        assert!(refusal.stderr.contains(said), "{variables:?}: {}", refusal.stderr);
        assert!(!refusal.stderr.contains("hunter2"), "{}", refusal.stderr);
    }
}

#[test]
fn a_malformed_url_of_the_mail_server_is_found_without_a_start() {
    for (url, problem) in [
        ("smtp://mail.example.com/x", "it has a path"),
        ("smtps://mail..example.com", "its host is neither"),
    ] {
        let home = home();
        let mut command = doorward(home.path());
        command.env("DOORWARD_EMAIL__URL", url);
        command.env("DOORWARD_EMAIL__FROM", "a@example.com").arg("config");
        let refusal = run(&mut command);
        assert_eq!(refusal.status.code(), Some(2), "{}", refusal.stderr);
        let said = format!("email.url (variable DOORWARD_EMAIL__URL): {problem}");
        assert!(refusal.stderr.contains(&said), "{}", refusal.stderr);
    }
}
