//! The logs of a whole day of requests hold no secret.

use crate::support::binary::{Doorward, printed, unlimited};
use crate::support::jar::HTTPS;

use super::program::stored_secrets;
use super::requests::everything;
use super::secrets::Secrets;
use super::{KEY, NEW_PASSWORD, OPERATORS, PASSWORD, STRAY, WRONG_PASSWORD};

#[tokio::test]
async fn nothing_secret_is_logged_at_any_level() {
    nothing_secret_is_logged("text").await;
}

#[tokio::test]
async fn nothing_secret_is_logged_as_json_at_any_level() {
    nothing_secret_is_logged("json").await;
}

async fn nothing_secret_is_logged(format: &str) {
    let home = tempfile::tempdir().unwrap();
    let program = || {
        let mut command = unlimited(home.path());
        command.env("DOORWARD_SESSIONS__RETRY_WINDOW", "0s").env("DOORWARD_LOG__LEVEL", "trace");
        command.env("DOORWARD_PUBLIC_URL", HTTPS).env("DOORWARD_LOG__FORMAT", format);
        command
    };
    let (service, began) = Doorward::start_and_said(&mut program());
    let mut secrets = Secrets::default();
    for password in [PASSWORD, NEW_PASSWORD, WRONG_PASSWORD, OPERATORS, STRAY] {
        secrets.password(password);
    }
    secrets.whole.push(KEY.to_owned());
    let sent = everything(&service, &program, "ada@example.com", &mut secrets).await;
    stored_secrets(home.path(), &mut secrets).await;

    let (status, stdout, log) = service.stop();
    assert!(status.success());
    // The log drops lines beyond its capacity: none is missing here.
    let lines = ["request completed", "rejected malformed request"];
    let count: usize = lines.iter().map(|line| log.matches(line).count()).sum();
    assert_eq!(count, sent, "{log}");
    assert!(log.contains("TRACE") && log.contains("session_ended"), "it logs little");
    assert_eq!(secrets.found_in(&(began + &log + &stdout)), None);
    let events = printed(program().args(["audit", "--limit", "1000", "--json"]));
    assert!(events.contains("refresh_token_reused"), "{events}");
    assert_eq!(secrets.found_in(&events), None);
}
