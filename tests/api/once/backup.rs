//! `doorward db backup`, through the real binary: a backup made under load, and rejected ones.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use diesel::connection::SimpleConnection as _;
use doorward::database::AnyConnection;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::Tokens;
use crate::support::binary::{Doorward, data_of, unlimited};
use crate::support::client::{Call, PASSWORD};
use crate::support::data::{connect, db, number, used};
use crate::support::until;

const EMAIL: &str = "ada@example.com";
const KEY: &str = "a-key-of-sixteen-letters";
const GENERATIONS: &str = "SELECT sum(generation) AS value FROM sessions";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_consistent_and_restorable() {
    let home = tempfile::tempdir().unwrap();
    let mut command = unlimited(home.path());
    // Every refresh is a write.
    command.env("DOORWARD_SESSIONS__RETRY_WINDOW", "0s");
    let service = Doorward::start(&mut command);
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for _ in 0..4 {
        let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
        let (acknowledged, generation) = watch::channel(0);
        let (http, url) = (service.http.clone(), service.url.clone());
        let writer = keep_refreshing(http, url, tokens, acknowledged, done.clone());
        writers.push((tokio::spawn(writer), generation));
    }
    let acknowledged = || writers.iter().map(|(_, generation)| *generation.borrow()).sum::<i64>();

    let mut backups = Vec::new();
    for n in 0..3 {
        let begun = acknowledged();
        until(async || acknowledged() > begun + 10).await;
        let before = acknowledged();
        let name = format!("backup-{n}.db");
        let (status, said, complaint) = db(home.path(), &["backup", &name, "--json"]);
        assert_eq!(status, 0, "{complaint}");
        let after = acknowledged();
        let made: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&made["file"], &made["drift"]), (&name.as_str().into(), &Value::Array(vec![])));
        assert_eq!((&made["rows"]["users"], &made["rows"]["sessions"]), (&1.into(), &4.into()));

        let file = home.path().join(&name);
        let about = fs::metadata(&file).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o600);
        assert_eq!(made["bytes"], about.len());
        let kept = number(&mut open(&file), GENERATIONS);
        // Requests of the four that are in progress when it begins and ends may be in it or not.
        assert!((before..=after + 4).contains(&kept), "{kept} of {before} to {after}");
        backups.push(file);
    }
    assert_eq!(leftovers(home.path()), [] as [String; 0]);

    done.store(true, Ordering::SeqCst);
    let mut last = Vec::new();
    for (writer, _) in writers {
        last.push(writer.await.unwrap());
    }
    let (status, _, log) = service.stop();
    assert!(status.success() && !log.contains("ERROR"), "{log}");

    // As `docs/operations.md` says.
    let database = data_of(home.path()).join("doorward.db");
    for log in ["db-wal", "db-shm"] {
        let _ = fs::remove_file(database.with_extension(log));
    }
    fs::rename(&backups[1], &database).unwrap();
    let (status, said, complaint) = db(home.path(), &["after-restore", "--yes"]);
    assert_eq!(status, 0, "{complaint}");
    assert!(said.starts_with("Sessions ended: 4. Signing keys removed: 1.\n"), "{said}");
    let service = Doorward::start(&mut command);
    for tokens in last {
        service.me(&tokens.access).await.unwrap().assert_problem(401, "invalid_token");
        service.refresh(&tokens.refresh, KEY).await.unwrap().assert_ended("backup_restored");
    }
    let fresh = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    service.me(&fresh.access).await.unwrap().assert_status(200);
}

async fn keep_refreshing(
    http: reqwest::Client,
    url: String,
    mut tokens: Tokens,
    acknowledged: watch::Sender<i64>,
    done: Arc<AtomicBool>,
) -> Tokens {
    while !done.load(Ordering::SeqCst) {
        let body = json!({ "refresh_token": tokens.refresh });
        let refresh = Call::to(&http, &url, "POST", "/refresh").json(&body);
        tokens = refresh.send().await.assert_status(200).tokens();
        acknowledged.send_replace(tokens.generation.try_into().unwrap());
    }
    tokens
}

#[tokio::test]
async fn an_invalid_backup_target_or_a_damaged_copy_is_rejected_and_leaves_no_file() {
    let home = tempfile::tempdir().unwrap();
    let (status, _, complaint) = db(home.path(), &["backup", "backup.db"]);
    assert_eq!(status, 1);
    assert!(complaint.contains("does not exist"), "{complaint}");

    used(home.path()).await;
    let refused = |file: &str, says: &str| {
        let (status, said, complaint) = db(home.path(), &["backup", file]);
        assert_eq!((status, said.as_str()), (1, ""), "{complaint}");
        assert!(complaint.contains(says) && complaint.contains("; "), "{complaint}");
    };
    fs::write(home.path().join("notes"), "somebody's").unwrap();
    refused("notes", "exists already");
    assert_eq!(fs::read_to_string(home.path().join("notes")).unwrap(), "somebody's");
    refused("nowhere/backup.db", "cannot be written");

    let (status, said, complaint) = db(home.path(), &["backup", "good.db"]);
    assert_eq!(status, 0, "{complaint}");
    assert!(said.starts_with("good.db: ") && said.contains("checked. Rows: "), "{said}");
    assert!(said.contains("does not contain the master secret"), "{said}");

    open(&data_of(home.path()).join("doorward.db"))
        .batch_execute(
            "PRAGMA ignore_check_constraints = ON; UPDATE signing_keys SET state = 'odd'",
        )
        .unwrap();
    refused("bad.db", "the copy is damaged (CHECK constraint failed in signing_keys)");
    assert!(!home.path().join("bad.db").exists());
    assert_eq!(leftovers(home.path()), [] as [String; 0]);
}

fn open(file: &Path) -> AnyConnection {
    connect(&format!("sqlite://{}", file.display()))
}

fn leftovers(home: &Path) -> Vec<String> {
    let names =
        fs::read_dir(home).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("unfinished")).collect()
}
