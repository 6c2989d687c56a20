//! A full disk: the real binary, with its data on a file system of a few megabytes.
//!
//! The file system is a tmpfs in a mount namespace of the service's own, and is removed with it. If
//! mounting is not permitted, the test is skipped with a notice; `faults.rs` tests the same without
//! a file system, by SQLite's limit on pages.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures_util::future::join_all;

use crate::support::binary::{Doorward, data_of, unlimited};
use crate::support::client::PASSWORD;
use crate::support::program::find;
use crate::support::{Answer, Tokens, until};

/// The size of the file system, in bytes.
const SIZE: u64 = 12 << 20;

/// The space that the ballast leaves: SQLite's log fills it before it restarts, which it does after
/// 16 MiB.
const LEFT: u64 = 600 << 10;

const OWNER: &str = "owner@example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_rejects_only_writes_until_there_is_space_again() {
    let home = tempfile::tempdir().unwrap();
    let Some(mut command) = on_a_small_disk(home.path()) else { return };
    let service = Doorward::start(&mut command);
    service.register(OWNER, PASSWORD).await.unwrap().assert_status(201);
    let mut chains = Vec::new();
    for _ in 0..4 {
        chains.push(log_in(&service).await);
    }
    let (leaving, staying) = (log_in(&service).await, log_in(&service).await);
    service.log_out(&leaving.access).await.unwrap().assert_status(204);
    let ballast = Ballast::fill(&service, home.path());

    let mut registered = vec!["first@example.com".to_owned()];
    service.register(&registered[0], PASSWORD).await.unwrap().assert_status(201);
    let refused = write_until_refused(&service, &mut chains, &mut registered).await;
    let rotations: u64 = chains.iter().map(|tokens| tokens.generation).sum();
    println!("full after {} accounts and {rotations} refreshes", registered.len());
    assert!(rotations > 0, "there was space for something");

    // Reads are served, so a load balancer still sees a ready node.
    let told = async || {
        let ready = service.get("/readyz").send().await.assert_status(200);
        ready.body["status"].as_str().unwrap().to_owned()
    };
    assert_transient(&refresh(&service, &chains[0]).await);
    assert_eq!(told().await, "degraded");

    for _ in 0..10 {
        assert_reads_go_on(&service, chains.iter().chain([&staying])).await;
        service.me(&leaving.access).await.unwrap().assert_problem(401, "token_revoked");
        assert_transient(&refresh(&service, &chains[0]).await);
    }
    let unheard = service.log_out(&staying.access).await.unwrap();
    if unheard.status != 204 {
        assert_transient(&unheard);
        service.me(&staying.access).await.unwrap().assert_status(200);
    }

    drop(ballast);
    until(async || told().await == "ready").await;
    assert_all_kept(&service, &chains, &registered, &refused).await;
    service.log_out(&staying.access).await.unwrap();
    service.me(&staying.access).await.unwrap().assert_problem(401, "token_revoked");
    service.me(&leaving.access).await.unwrap().assert_problem(401, "token_revoked");
    service.get("/readyz").send().await.assert_status(200);
}

/// Registers and refreshes until both are rejected because the disk is full; returns the rejected
/// address.
async fn write_until_refused(
    service: &Doorward,
    chains: &mut [Tokens],
    registered: &mut Vec<String>,
) -> String {
    let registering = async {
        loop {
            let email = format!("n{}@example.com", registered.len());
            let answer = service.register(&email, PASSWORD).await.unwrap();
            if answer.status != 201 {
                assert_transient(&answer);
                break email;
            }
            registered.push(email);
        }
    };
    let refreshing = join_all(chains.iter_mut().map(async |tokens| {
        loop {
            let answer = refresh(service, tokens).await;
            if answer.status != 200 {
                assert_transient(&answer);
                break;
            }
            let next = answer.tokens();
            assert_eq!(next.generation, tokens.generation + 1);
            *tokens = next;
        }
    }));
    let (refused, _) = tokio::join!(registering, refreshing);
    // They may have been rejected together, with space left for one alone.
    for tokens in chains {
        loop {
            let answer = refresh(service, tokens).await;
            if answer.status != 200 {
                assert_transient(&answer);
                break;
            }
            *tokens = answer.tokens();
        }
    }
    refused
}

async fn assert_reads_go_on(service: &Doorward, all: impl Iterator<Item = &Tokens>) {
    for tokens in all {
        service.me(&tokens.access).await.unwrap().assert_status(200);
        let list = service.get("/sessions").bearer(&tokens.access).send().await;
        list.assert_status(200);
        let verified = service.get("/verify").bearer(&tokens.access).send().await;
        assert!((200..300).contains(&verified.status), "{}", verified.text);
    }
    service.get("/healthz").send().await.assert_status(200);
}

/// Every acknowledged change is stored, and no rejected one.
async fn assert_all_kept(
    service: &Doorward,
    chains: &[Tokens],
    registered: &[String],
    refused: &str,
) {
    for tokens in chains {
        let next = refresh(service, tokens).await.tokens();
        assert_eq!(next.generation, tokens.generation + 1);
        service.me(&next.access).await.unwrap().assert_status(200);
    }
    service.register(refused, PASSWORD).await.unwrap().assert_status(201);
    for email in registered.iter().map(String::as_str).chain([refused]) {
        let taken = service.register(email, PASSWORD).await.unwrap();
        taken.assert_problem(409, "email_taken");
        service.log_in(email, PASSWORD).await.unwrap().assert_status(200);
    }
}

/// Doorward with its data on a small file system; `None` where the system does not permit one.
fn on_a_small_disk(home: &Path) -> Option<Command> {
    let [unshare, shell, mount] = find(["unshare", "sh", "mount"], "util-linux")?;
    let data = data_of(home);
    fs::create_dir(&data).unwrap();
    let script = r#""$1" -t tmpfs -o "size=$2,mode=700" tmpfs "$3" && shift 3 && exec "$@""#;
    let within = |program: &str| {
        let mut command = Command::new(&unshare);
        let is_root = rustix::process::geteuid().is_root();
        command.args(if is_root {
            ["--mount"].as_slice()
        } else {
            &["--mount", "--map-root-user"]
        });
        command.arg(&shell).args(["-c", script, "sh"]).arg(&mount).arg(SIZE.to_string());
        command.arg(&data).arg(program).stdin(Stdio::null());
        command
    };
    let probe = within("/bin/true").output().unwrap();
    if !probe.status.success() {
        let why = String::from_utf8_lossy(&probe.stderr).into_owned();
        // Bypasses the harness, which hides the output of passing tests.
        let notice = format!(
            "\n*** no file system may be mounted ({why}): the test of a full disk IS SKIPPED.\n\n"
        );
        let _ = std::io::stderr().write_all(notice.as_bytes());
        return None;
    }
    let settings = unlimited(home);
    let mut command = within(env!("CARGO_BIN_EXE_doorward"));
    command.env_clear().current_dir(home);
    command.envs(settings.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // Every refresh is written.
    command.env("DOORWARD_SESSIONS__RETRY_WINDOW", "0s").env("DOORWARD_PASSWORDS__MIN_SCORE", "0");
    Some(command)
}

/// A file that fills the space. It is removed on drop.
struct Ballast(PathBuf);

impl Ballast {
    fn fill(service: &Doorward, home: &Path) -> Self {
        let root = PathBuf::from(format!("/proc/{}/root", service.id()));
        let data = root.join(data_of(home).strip_prefix("/").unwrap());
        let disk = rustix::fs::statvfs(&data).unwrap();
        assert!(disk.f_blocks * disk.f_frsize <= SIZE, "it is on the small file system");
        let path = data.join("ballast");
        let size = (disk.f_bavail * disk.f_frsize).checked_sub(LEFT).unwrap();
        fs::write(&path, vec![1; size.try_into().unwrap()]).unwrap();
        Self(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

async fn log_in(service: &Doorward) -> Tokens {
    service.log_in(OWNER, PASSWORD).await.unwrap().tokens()
}

async fn refresh(service: &Doorward, tokens: &Tokens) -> Answer {
    let key = format!("the-key-of-generation-{}", tokens.generation);
    service.refresh(&tokens.refresh, &key).await.unwrap()
}

#[track_caller]
fn assert_transient(answer: &Answer) {
    let answer = answer.clone().assert_problem(503, "unavailable");
    assert_eq!(answer.body["transient"], true, "{}", answer.text);
    assert!(answer.header("retry-after").is_some());
}
