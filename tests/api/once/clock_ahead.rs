//! A command on a machine whose clock is ahead, and the commands after it: with SQLite the times in
//! the database are those of whichever machine wrote them.

use std::path::Path;
use std::process::{Command, Output};

use doorward::clock::{Clock, Timestamp};
use serde_json::Value;

use crate::support::binary::{Doorward, data_of, doorward, home, printed, unlimited};
use crate::support::client::PASSWORD;
use crate::support::program::libfaketime;

const EMAIL: &str = "ada@example.com";
const MONTH: i64 = 31 * 86_400;

fn ahead<'a>(command: &'a mut Command, library: &Path) -> &'a mut Command {
    command.env("LD_PRELOAD", library).env("FAKETIME", format!("+{MONTH}s"));
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

fn successful(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Seconds from now until this time.
fn from_now(moment: &Value) -> i64 {
    let moment = Timestamp::parse(moment.as_str().unwrap()).unwrap();
    moment.unix_seconds() - Clock::system().now().unix_seconds()
}

#[tokio::test]
async fn a_command_with_its_clock_ahead_does_not_set_the_time_of_those_after_it() {
    let Some(library) = libfaketime() else { return };
    let home = home();
    let home = home.path();
    let service = Doorward::start(&mut unlimited(home));
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
    let ending = ["user", "end-sessions", EMAIL];
    let quiet = successful(doorward(home).args(["user", "list"]));
    assert_eq!(String::from_utf8_lossy(&quiet.stderr), "");
    printed(ahead(doorward(home).args(ending), &library));

    let json = |arguments: &[&str]| -> Value {
        let output = successful(doorward(home).args(arguments).arg("--json"));
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines: Vec<_> = complaint.lines().collect();
        let warning = "the newest moment in the database is";
        assert!(lines.len() == 1 && lines[0].contains(warning), "{arguments:?}: {complaint}");
        assert!(complaint.contains("set the clock"), "{complaint}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    // It signs when every cache has it, minutes from now.
    let next = json(&["key", "rotate"]);
    assert!(from_now(&next["until"]) < 86_400, "{next}");
    assert!(from_now(&next["created_at"]) <= 0, "{next}");
    json(&["client", "add", "--name", "Shop", "--public"]);
    let clients = json(&["client", "list"]);
    assert!(from_now(&clients[0]["created_at"]) <= 0, "{clients}");
    let published = json(&["audit", "--event", "key_published"]);
    assert!(from_now(&published[0]["at"]) <= 0, "{published}");

    // An ended session is listed for the lifetime of a token, counted from the newest stored time.
    service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
    let disable = json(&["user", "disable", EMAIL]);
    assert_eq!(disable["sessions_ended"], 1);
    let disabled = json(&["audit", "--event", "account_disabled"]);
    assert!(from_now(&disabled[0]["at"]) <= 0, "{disabled}");
    let url = format!("sqlite://{}", data_of(home).join("doorward.db").display());
    let earliest = "SELECT min(expires_at) / 1000000 AS value FROM blocklist";
    let earliest = crate::support::data::number(&mut crate::support::data::connect(&url), earliest);
    assert!(earliest > Clock::system().now().unix_seconds() + MONTH, "{earliest}");
    drop(service);
}
