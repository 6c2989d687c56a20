//! Files that are deleted or replaced under a running service.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::Duration;

use doorward::clock::Clock;

use crate::support::binary::{Doorward, data_of, doorward, home, unlimited};
use crate::support::client::PASSWORD;
use crate::support::until;

use super::EMAIL;

/// Damage to the files of a running service.
type Harm = fn(&Path);

const HARMS: [(&str, Harm); 8] = [
    ("deleted", |data| fs::remove_dir_all(data).unwrap()),
    ("deleted", |data| fs::rename(data, data.with_extension("away")).unwrap()),
    ("deleted", |data| fs::rename(data.join("doorward.db"), data.join("away")).unwrap()),
    ("deleted", |data| fs::remove_file(data.join("doorward.db-wal")).unwrap()),
    ("deleted", |data| fs::remove_file(data.join("doorward.db-shm")).unwrap()),
    ("replaced", |data| {
        fs::copy(data.join("doorward.db"), data.join("copy")).unwrap();
        fs::rename(data.join("copy"), data.join("doorward.db")).unwrap();
    }),
    ("truncated", |data| truncate(&data.join("doorward.db"))),
    ("truncated", |data| truncate(&data.join("doorward.db-wal"))),
];

fn truncate(file: &Path) {
    OpenOptions::new().write(true).open(file).unwrap().set_len(0).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_vanish_under_a_running_service_end_its_writes_and_are_reported_once() {
    for (n, (word, harm)) in HARMS.into_iter().enumerate() {
        let home = home();
        let service = Doorward::start(&mut unlimited(home.path()));
        service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
        let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
        service.get("/readyz").send().await.assert_status(200);
        harm(&data_of(home.path()));
        let clock = Clock::system();
        let harmed_at = clock.monotonic();
        until(async || service.get("/readyz").send().await.status == 503).await;
        let noticed_after = clock.monotonic() - harmed_at;
        assert!(noticed_after < Duration::from_secs(3), "{n}: {noticed_after:?}");
        let unready = service.get("/readyz").send().await.assert_problem(503, "not_ready");
        assert!(unready.text.contains(word), "{n}: {}", unready.text);
        let refused = service.register("eve@example.com", PASSWORD).await.unwrap();
        let refused = refused.assert_problem(503, "unavailable");
        assert_eq!(refused.body["transient"], true, "{n}");
        assert!(refused.header("retry-after").is_some(), "{n}");
        let unheard = service.log_out(&tokens.access).await.unwrap();
        unheard.assert_problem(503, "unavailable");
        let (_, _, log) = service.stop();
        let lines = log.lines().filter(|line| line.contains("writes are rejected from now on"));
        assert_eq!(lines.count(), 1, "{n}: {log}");
    }
}

#[tokio::test]
async fn writes_after_the_files_vanished_are_not_acknowledged() {
    let home = home();
    let service = Doorward::start(&mut unlimited(home.path()));
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    fs::remove_dir_all(data_of(home.path())).unwrap();
    let refused = service.register("eve@example.com", PASSWORD).await.unwrap();
    refused.assert_problem(503, "unavailable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_and_a_vacuum_of_another_process_end_nothing() {
    use diesel::connection::SimpleConnection as _;
    let home = home();
    let service = Doorward::start(&mut unlimited(home.path()));
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let file = data_of(home.path()).join("doorward.db");
    let mut other = crate::support::data::connect(&format!("sqlite://{}", file.display()));
    let ballast = "CREATE TABLE ballast (x BLOB); INSERT INTO ballast VALUES (zeroblob(1000000));
                PRAGMA wal_checkpoint(TRUNCATE)";
    other.batch_execute(ballast).unwrap();
    let before = fs::metadata(&file).unwrap().len();
    // The service has noticed each of the two before the next happens.
    service.register("eve@example.com", PASSWORD).await.unwrap().assert_status(201);
    other.batch_execute("DROP TABLE ballast; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert!(fs::metadata(&file).unwrap().len() < before, "it is shorter");
    let home = home.path();
    let backup = doorward(home).args(["db", "backup", "backup.db"]).status().unwrap();
    assert!(backup.success());
    for n in 0..3 {
        let email = format!("n{n}@example.com");
        service.register(&email, PASSWORD).await.unwrap().assert_status(201);
    }
    service.get("/readyz").send().await.assert_status(200);
}
