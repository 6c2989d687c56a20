//! The texts about migrations, the schema and backups.

use std::fmt::Write as _;

use super::operations::{Backup, FormerKey, SchemaReport};

const AFTER_BACKUP: &str = "\
The backup does not contain the master secret: keep that, too. To restore, stop Doorward on every
node, replace the database by the file (without the -wal and -shm files beside it), and run
`doorward db after-restore` before the next start.
";

pub(super) fn backup_summary(Backup { file, bytes, rows, migration, drift }: &Backup) -> String {
    let rows: Vec<String> = rows.iter().map(|(table, rows)| format!("{table} {rows}")).collect();
    let mut text = format!(
        "{}: {bytes} bytes, checked. Rows: {}. Last migration: {}.\n",
        file.display(),
        rows.join(", "),
        migration.as_deref().unwrap_or("none"),
    );
    for line in drift {
        let _ = writeln!(text, "drift: {line}");
    }
    text + AFTER_BACKUP
}

pub(super) fn migrated(applied: &[String]) -> String {
    if applied.is_empty() {
        return String::from("Nothing to do: the schema is up to date.\n");
    }
    let mut text = String::new();
    for migration in applied {
        let _ = writeln!(text, "applied {migration}");
    }
    text
}

pub(super) fn lines(report: &SchemaReport) -> String {
    let mut text = String::new();
    for migration in &report.pending {
        let _ = writeln!(text, "pending: migration {migration} (run `doorward db migrate`)");
    }
    for migration in &report.newer {
        let _ = writeln!(text, "unknown: migration {migration} (run the version that applied it)");
    }
    for line in &report.drift {
        let _ = writeln!(text, "drift: {line}");
    }
    if let Some(why) = &report.not_compared {
        let _ = writeln!(text, "not compared: {why}");
    }
    if report.is_good() {
        let applied = report.applied.len();
        let _ = writeln!(text, "The schema is up to date (migrations applied: {applied}).");
    }
    text
}

/// One line about an account with a former e-mail key.
pub(super) fn former_key(FormerKey { id, email, is_taken }: &FormerKey) -> String {
    if *is_taken {
        format!(
            "e-mail: account {id} ({email}) has the address of another account in another spelling \
             (change one of them by `doorward user set-email`, or delete it)\n"
        )
    } else {
        format!(
            "e-mail: account {id} ({email}) has its former key (run `doorward db migrate \
             --email-keys` once every node runs this version)\n"
        )
    }
}
