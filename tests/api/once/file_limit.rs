//! A limit on the size of files (`RLIMIT_FSIZE`): a write beyond it fails like one to a full disk,
//! and does not end the process.

use std::process::Command;

use crate::support::binary::{Doorward, unlimited};
use crate::support::client::PASSWORD;
use crate::support::until;

/// In the blocks of `ulimit`, which have 512 or 1024 bytes: more than a new database takes.
const BLOCKS: u32 = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_beyond_the_limit_on_files_is_refused_and_the_service_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let service = Doorward::start(&mut under_limit(&unlimited(home.path())));
    service.register("owner@example.com", PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in("owner@example.com", PASSWORD).await.unwrap().tokens();
    let mut refused = None;
    for n in 0..500 {
        let answer = service.register(&format!("n{n}@example.com"), PASSWORD).await;
        let answer = answer.expect("an answer, though it may be a refusal");
        if answer.status != 201 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a limit that is reached").assert_problem(503, "unavailable");
    assert_eq!(refused.body["transient"], true);
    service.me(&tokens.access).await.unwrap().assert_status(200);
    until(async || {
        let ready = service.get("/readyz").send().await;
        ready.status == 200 && ready.body["status"] == "degraded"
    })
    .await;
    let (status, _, log) = service.stop();
    assert!(status.success(), "{status}: {log}");
}

/// The command under a limit on the size of files.
fn under_limit(command: &Command) -> Command {
    let script = format!(r#"ulimit -f {BLOCKS}; exec "$0" "$@""#);
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).arg(command.get_program()).args(command.get_args());
    shell.env_clear().current_dir(command.get_current_dir().unwrap());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}
