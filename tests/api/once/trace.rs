//! Durability: a power cut loses nothing that was acknowledged. Checked by the system calls of the
//! real binary: everything that SQLite has written to its log before a response leaves is synced by
//! then.
//!
//! Requests are sequential, so that writes belong to the request that is answered next. Under load
//! a commit is the same `COMMIT` for more of them.
//!
//! With the same tracer: a disk that stops responding delays reads only up to their timeout.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;

use crate::support::binary::{Doorward, unlimited};
use crate::support::client::{PASSWORD, Tokens};
use crate::support::program::{Program, find};
use crate::support::until;

const EMAIL: &str = "owner@example.com";

#[tokio::test]
async fn no_response_to_a_write_leaves_before_its_data_is_synced() {
    let home = tempfile::tempdir().unwrap();
    let Some((mut command, log)) = traced(home.path()) else { return };
    let service = Doorward::start(&mut command);
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let mut writes = 1;
    for way in 0..ENDS {
        let first = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
        let mut next = first.clone();
        for n in 0..5 {
            let key = format!("the-key-of-the-request-{n}");
            next = service.refresh(&next.refresh, &key).await.unwrap().tokens();
        }
        end(&service, way, &first, &next).await;
        writes += 7;
    }
    let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    let password = format!("{PASSWORD}!");
    let body = json!({ "current_password": PASSWORD, "new_password": password });
    let change = service.call("POST", "/me/password").bearer(&tokens.access).json(&body);
    let access = change.send().await.tokens().access;
    let close = service.call("POST", "/me/close").bearer(&access);
    close.json(&json!({ "password": password })).send().await.assert_status(204);
    writes += 3;
    service.signal(Signal::KILL);
    // The tracer ends with the traced process.
    until(async || fs::read_to_string(&log).unwrap().contains("+++ killed by SIGKILL +++")).await;

    let trace = Trace::read(&fs::read_to_string(&log).unwrap());
    println!("{} answers, {} syncs of the log", trace.answers, trace.syncs);
    assert_eq!(trace.answers, writes, "every response was seen");
    assert!(trace.syncs >= writes);
}

/// The ways to end a session, including a detected theft.
const ENDS: usize = 5;

async fn end(service: &Doorward, way: usize, first: &Tokens, last: &Tokens) {
    let post = |path| service.call("POST", path);
    match way {
        0 => post("/logout").bearer(&last.access).send().await.assert_status(204),
        1 => post("/logout?scope=all").bearer(&last.access).send().await.assert_status(204),
        2 => {
            let path = format!("/sessions/{}", last.session);
            service.call("DELETE", &path).bearer(&last.access).send().await.assert_status(204)
        }
        3 => post("/revoke").form(&[("token", &last.refresh)]).send().await.assert_status(200),
        _ => {
            let reuse = service.refresh(&first.refresh, "the-key-of-another-request").await;
            reuse.unwrap().assert_ended("refresh_token_reused")
        }
    };
}

/// Each read of a file takes ten minutes, longer than any timeout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_disk_fails_only_requests_that_need_it() {
    const HANGS: &str = "inject=pread64:delay_enter=600000000";
    let Some(strace) = tracer() else { return };
    let home = tempfile::tempdir().unwrap();
    let service = Doorward::start(&mut unlimited(home.path()));
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();

    let id = service.id().to_string();
    let arguments = ["-f", "-p", &id, "-e", "trace=pread64", "-e", HANGS, "-o", "/dev/null"];
    let hanging = Program::start(&strace, &arguments, home.path());
    until(async || is_traced(&id)).await;
    for answer in join_all((0..40).map(|_| service.me(&tokens.access))).await {
        let answer = answer.unwrap().assert_problem(503, "unavailable");
        assert_eq!(answer.body["transient"], true);
    }
    service.get("/verify").bearer(&tokens.access).send().await.assert_status(200);

    drop(hanging);
    until(async || service.me(&tokens.access).await.unwrap().status == 200).await;
}

/// Whether every thread of this process is traced.
fn is_traced(id: &str) -> bool {
    let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    })
}

/// The calls, in order.
#[derive(Default)]
struct Trace {
    answers: usize,
    syncs: usize,
}

impl Trace {
    /// # Panics
    /// When a response left before a write was synced, or without any sync since the last.
    fn read(log: &str) -> Self {
        let mut trace = Self::default();
        let mut is_dirty = false;
        let mut synced = 0;
        // For each thread, whether a sync of the log is in progress and nothing was written since.
        let mut syncing = BTreeMap::<&str, bool>::new();
        for line in log.lines() {
            let Some((thread, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            let is_of_log = call.contains("doorward.db-wal>");
            if is_of_log && call.starts_with("pwrite64(") {
                is_dirty = true;
                for covers in syncing.values_mut() {
                    *covers = false;
                }
            } else if is_of_log && (call.starts_with("fdatasync(") || call.starts_with("fsync(")) {
                syncing.insert(thread, true);
            } else if call.contains("write") || call.contains("send") {
                // An error as well as a success: it reports that a session has ended.
                if call.contains("\"HTTP/1.1 ") {
                    assert!(!is_dirty, "answered before the sync: {line}");
                    assert!(trace.syncs > synced, "answered without a sync: {line}");
                    synced = trace.syncs;
                    trace.answers += 1;
                }
                continue;
            }
            let is_sync = call.contains("sync(") || call.contains("sync resumed>");
            if is_sync
                && call.ends_with("= 0")
                && syncing.remove(thread).is_some_and(|covers| covers)
            {
                is_dirty = false;
                trace.syncs += 1;
            }
        }
        trace
    }
}

/// Doorward under strace, and the path of the calls; `None` where tracing is not permitted.
fn traced(home: &Path) -> Option<(Command, PathBuf)> {
    let strace = tracer()?;
    let log = home.join("calls");
    let settings = unlimited(home);
    let mut command = Command::new(&strace);
    let calls = "trace=pwrite64,write,writev,sendto,sendmsg,fsync,fdatasync";
    // The tracer is a child of the traced process, so a kill hits the service.
    command.args(["-D", "-f", "-y", "-s", "40", "-e", calls, "-o"]).arg(&log);
    command.arg(env!("CARGO_BIN_EXE_doorward")).stdin(Stdio::null());
    command.env_clear().current_dir(home);
    command.envs(settings.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // Every refresh is written.
    command.env("DOORWARD_SESSIONS__RETRY_WINDOW", "0s");
    Some((command, log))
}

/// The path of strace; `None`, with a notice, if it is missing or may not trace.
fn tracer() -> Option<PathBuf> {
    let [strace] = find(["strace"], "strace")?;
    let probe =
        Command::new(&strace).args(["-f", "-o", "/dev/null", "/bin/true"]).output().unwrap();
    if !probe.status.success() || !probe.stderr.is_empty() {
        let (why, name) = (String::from_utf8_lossy(&probe.stderr), std::thread::current());
        let name = name.name().unwrap_or_default();
        // Bypasses the harness, which hides the output of passing tests.
        let notice = format!("\n*** nothing may be traced ({why}): {name} IS SKIPPED.\n\n");
        let _ = std::io::stderr().write_all(notice.as_bytes());
        return None;
    }
    Some(strace)
}
