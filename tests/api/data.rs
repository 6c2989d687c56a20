//! `doorward db`, through the real binary: the schema, copies between two databases of one kind,
//! and a restored backup. Copies between kinds are in `tests/nodes/copy.rs`.

mod copy;
mod restored;
mod schema;

use std::path::Path;

use crate::support::data::{copy, db};
use crate::support::postgres::{Cluster, on_postgres};

const KEY: &str = "a-key-of-sixteen-letters";

#[test]
fn every_command_has_an_example() {
    let home = tempfile::tempdir().unwrap();
    for command in ["migrate", "check", "copy", "backup", "after-restore"] {
        let (status, said, _) = db(home.path(), &[command, "--help"]);
        assert_eq!(status, 0);
        assert!(said.contains(&format!("Example: doorward db {command}")), "{said}");
    }
    let (status, _, complaint) = copy(home.path(), "mysql://x", &second(home.path()), &[]);
    assert_eq!(status, 2);
    assert!(complaint.contains("--from") && complaint.contains("sqlite://"), "{complaint}");
}

/// Another, empty database of the same kind.
fn second(home: &Path) -> String {
    if on_postgres() {
        Cluster::shared().empty_database()
    } else {
        format!("sqlite://{}", home.join("second.db").display())
    }
}

/// The number of tables.
fn tables() -> &'static str {
    if on_postgres() {
        "SELECT count(*) AS value FROM pg_tables WHERE schemaname = 'public'"
    } else {
        "SELECT count(*) AS value FROM sqlite_schema WHERE type = 'table'"
    }
}
