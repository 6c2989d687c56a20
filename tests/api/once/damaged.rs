//! SQLite's files, overwritten in place under a running service without becoming shorter: the first
//! unit of work that reads a damaged page ends all writes.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection as _;

use crate::support::binary::{Doorward, data_of, home, unlimited};
use crate::support::client::PASSWORD;
use crate::support::until;

const EMAIL: &str = "ada@example.com";

/// Each of SQLite's files, with the byte that overwrites it.
const HARMS: [(&str, u8); 4] =
    [("doorward.db", 0), ("doorward.db", 0xa5), ("doorward.db-wal", 0), ("doorward.db-wal", 0xa5)];

/// The running service's database file; the log is empty, so all data is in it.
fn brought_over(home: &Path) -> PathBuf {
    let file = data_of(home).join("doorward.db");
    let mut other = crate::support::data::connect(&format!("sqlite://{}", file.display()));
    other.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    file
}

fn overwrite(file: &Path, byte: u8) {
    let size = fs::metadata(file).unwrap().len();
    assert!(size > 0, "{}", file.display());
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&vec![byte; usize::try_from(size).unwrap()], 0).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_failed_read_of_overwritten_files_ends_all_writes() {
    for (name, byte) in HARMS {
        let home = home();
        let service = Doorward::start(&mut unlimited(home.path()));
        service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
        let file = brought_over(home.path());
        let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
        overwrite(&file.with_file_name(name), byte);

        // Pages in SQLite's cache are still read unchanged.
        until(async || service.log_in(EMAIL, PASSWORD).await.unwrap().status == 503).await;
        let refused = service.register("eve@example.com", PASSWORD).await.unwrap();
        refused.assert_problem(503, "unavailable");
        let refused = service.log_out(&tokens.access).await.unwrap();
        refused.assert_problem(503, "unavailable");
        let unready = service.get("/readyz").send().await.assert_problem(503, "not_ready");
        assert!(unready.text.contains("overwritten"), "{name} {byte}: {}", unready.text);
        let (_, _, log) = service.stop();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
        let said = "writes are rejected from now on";
        assert!(lines.len() == 1 && lines[0].contains(said), "{name} {byte}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overwritten_log_is_not_checkpointed() {
    let home = home();
    let service = Doorward::start(&mut unlimited(home.path()));
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let file = brought_over(home.path());
    let kept = fs::read(&file).unwrap();
    service.register("eve@example.com", PASSWORD).await.unwrap().assert_status(201);
    overwrite(&file.with_file_name("doorward.db-wal"), 0);
    until(async || service.log_in(EMAIL, PASSWORD).await.unwrap().status == 503).await;
    assert!(service.stop().0.success());
    assert!(fs::read(&file).unwrap() == kept, "the database is unchanged");
    let service = Doorward::start(&mut unlimited(home.path()));
    service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
}
