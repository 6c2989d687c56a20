//! The session in `README.md`, word for word.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::binary::{Doorward, PATIENT, SLOWLY, doorward};
use crate::support::docs;

const SESSION: &str = include_str!("../../../src/app/session.sh");
const URL: &str = "http://127.0.0.1:8080";

#[test]
fn the_lines_of_the_readme_work_when_they_are_pasted() {
    let block = docs::block("README.md", "URL=");
    assert_eq!(block, SESSION, "README.md and src/app/session.sh say the same");

    let home = tempfile::tempdir().unwrap();
    let service = Doorward::start(doorward(home.path()).envs([PATIENT, SLOWLY]));
    let output = bash(&block.replace(URL, &service.url), home.path());
    let lines: Vec<&str> = output.lines().collect();
    let [register, me, refresh, sessions, logout, refused] = lines[..] else {
        panic!("six answers, a line each: {output}");
    };
    let json = |line: &str| serde_json::from_str::<Value>(line).expect(line);

    let account = json(register);
    assert_eq!(account["email"], "ada@example.com");
    assert!(account["id"].is_string() && account["created_at"].is_string(), "{account}");
    assert_eq!(json(me)["id"], account["id"]);
    let tokens = json(refresh);
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["generation"], 1);
    assert!(tokens["access_token"].is_string() && tokens["refresh_token"].is_string(), "{tokens}");
    let session = &json(sessions)["sessions"][0];
    assert_eq!(session["id"], tokens["session_id"]);
    assert_eq!(session["current"], true);
    assert_eq!(logout, "204");
    let refused = json(refused);
    assert_eq!(refused["status"], 401);
    assert_eq!(refused["code"], "token_revoked");
}

#[test]
fn the_banner_has_the_lines_of_the_readme_with_the_actual_address() {
    let home = tempfile::tempdir().unwrap();
    let service = Doorward::start(&mut doorward(home.path()));
    let session = SESSION.replace(URL, &service.url);
    let (status, printed, _) = service.stop();
    assert!(status.success());
    assert!(printed.contains(&session), "{printed}");
}

#[test]
fn no_lines_are_printed_that_would_not_work() {
    for (name, value) in [
        ("DOORWARD_PUBLIC_URL", "https://login.example.com"),
        ("DOORWARD_ACCOUNTS__REGISTRATION", "closed"),
        ("DOORWARD_ACCOUNTS__REGISTRATION", "invite"),
        ("DOORWARD_ACCOUNTS__VERIFICATION", "required"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let service = Doorward::start(doorward(home.path()).env(name, value));
        let (status, printed, _) = service.stop();
        assert!(status.success());
        assert!(!printed.contains("curl"), "{value}: {printed}");
    }
}

fn bash(script: &str, home: &Path) -> String {
    let output = Command::new("bash").args(["-e", "-c", script]).current_dir(home).output();
    let output = output.expect("bash is here");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "is it curl 7.82 or later? {complaints}");
    assert_eq!(complaints, "");
    String::from_utf8(output.stdout).unwrap()
}
