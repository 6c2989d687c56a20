//! SQLite's files, overwritten in place under a running service and no shorter than before: the
//! first unit of work that comes upon it ends the writes.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection as _;

use crate::support::binary::{Doorward, data_of, home, unlimited};
use crate::support::client::PASSWORD;
use crate::support::until;

const EMAIL: &str = "ada@example.com";

/// Each of SQLite's files with the byte that it is filled with.
const HARMS: [(&str, u8); 4] =
    [("doorward.db", 0), ("doorward.db", 0xa5), ("doorward.db-wal", 0), ("doorward.db-wal", 0xa5)];

/// The file of the running service, and all that it has is in it: nothing is left in the log.
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
async fn files_that_are_overwritten_in_place_end_the_writes_at_the_first_read_that_fails() {
    for (name, byte) in HARMS {
        let home = home();
        let service = Doorward::start(&mut unlimited(home.path()));
        service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
        let file = brought_over(home.path());
        let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
        overwrite(&file.with_file_name(name), byte);

        // Pages that SQLite has in its memory are still read as they were.
        until(async || service.log_in(EMAIL, PASSWORD).await.unwrap().status == 503).await;
        let refused = service.register("eve@example.com", PASSWORD).await.unwrap();
        refused.assert_problem(503, "unavailable");
        let refused = service.log_out(&tokens.access).await.unwrap();
        refused.assert_problem(503, "unavailable");
        let unready = service.get("/readyz").send().await.assert_problem(503, "not_ready");
        assert!(unready.text.contains("overwritten"), "{name} {byte}: {}", unready.text);
        let (_, _, log) = service.stop();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
        let said = "nothing is written any more";
        assert!(lines.len() == 1 && lines[0].contains(said), "{name} {byte}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_overwritten_is_not_brought_into_the_database() {
    let home = home();
    let service = Doorward::start(&mut unlimited(home.path()));
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let file = brought_over(home.path());
    let kept = fs::read(&file).unwrap();
    service.register("eve@example.com", PASSWORD).await.unwrap().assert_status(201);
    overwrite(&file.with_file_name("doorward.db-wal"), 0);
    until(async || service.log_in(EMAIL, PASSWORD).await.unwrap().status == 503).await;
    assert!(service.stop().0.success());
    assert!(fs::read(&file).unwrap() == kept, "the database is as it was");
    let service = Doorward::start(&mut unlimited(home.path()));
    service.log_in(EMAIL, PASSWORD).await.unwrap().assert_status(200);
}
