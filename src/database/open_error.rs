//! Why a database cannot be opened, with the remedy.

use std::fmt;

use super::DatabaseUrl;
use super::connection_refusals::RefusalReason;

/// Why the database is unusable; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be reached or read.
    #[error(
        "cannot open the database {at}: {cause}; check that it exists, that it is a database, and \
         that this user may read and write it, or run this as the user of the service"
    )]
    Unreachable {
        /// The database, without its password.
        at: String,
        /// The cause, from the database library.
        cause: String,
    },
    /// The server, or a pooler in front of it, refuses a connection for a reason that has its own
    /// remedy.
    #[error("cannot use the database {at}: {cause}; {remedy}")]
    Refused {
        /// The database, without its password.
        at: String,
        /// The server's message.
        cause: String,
        /// The remedy.
        remedy: &'static str,
    },
    /// The SQLite file does not exist, and was not to be created.
    #[error(
        "the database {0} does not exist; run this in the folder of the service, or name its data with \
         --data-dir (`doorward db migrate` creates a new database)"
    )]
    Missing(String),
    /// The database is missing, but its write-ahead log exists.
    #[error(
        "the database {at} is missing or empty, but {log} holds its last writes; put the database \
         back beside it or, to use a backup or a new database instead, move that file away first"
    )]
    OrphanedLog {
        /// The database.
        at: String,
        /// The log.
        log: String,
    },
    /// The log of another database is next to it.
    #[error(
        "{log} is the log of another database than {at}, as when a backup takes the place of a \
         database; SQLite would apply it: move it away, with the -shm beside it"
    )]
    OtherLog {
        /// The database.
        at: String,
        /// The log.
        log: String,
    },
    /// Its name is a dangling symbolic link.
    #[error(
        "the database {0} is a symbolic link to a missing file; correct the link, mount its \
         target, or remove it"
    )]
    Dangling(String),
    /// Other users of the machine can read it.
    #[error(
        "every user of this machine can open {at} (its mode is {mode:o}, and its directory lets \
         them in); chmod 600 {at}, or close the directory with chmod 700 (for a Kubernetes volume \
         set fsGroup)"
    )]
    Exposed {
        /// The file.
        at: String,
        /// Its mode.
        mode: u32,
    },
    /// Other users of the machine can replace it.
    #[error(
        "every user of this machine can write to the folder {at} (its mode is {mode:o}), and so \
         replace the database in it; chmod 700 {at}, or name a folder in it that is not there yet, \
         which Doorward makes for its user alone (data_dir)"
    )]
    WritableFolder {
        /// The directory.
        at: String,
        /// Its mode.
        mode: u32,
    },
    /// The database has no Doorward tables, and they were not to be created.
    #[error(
        "the database {0} is empty; check that it is the right one (`doorward db migrate` creates \
         Doorward's tables in it)"
    )]
    Empty(String),
    /// Its text encoding is not UTF-8.
    #[error(
        "the database {at} has the encoding {encoding}, which cannot hold every name; create one \
         with `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0` and name that"
    )]
    Encoding {
        /// The database, without its password.
        at: String,
        /// Its encoding.
        encoding: String,
    },
    /// The applied migrations cannot be read.
    #[error(
        "cannot read which migrations the database has: {0}; GRANT SELECT ON \
         __diesel_schema_migrations to this role"
    )]
    Versions(String),
    /// Its schema is newer than this version.
    #[error(
        "the database has migration {0}, which this version does not know; run the version that \
         applied it, or a newer one"
    )]
    Newer(String),
    /// Its schema is outdated and migration at start is off.
    #[error(
        "the database lacks migration {0} and migration at start is off; run `doorward db \
         migrate`, or set database.migrate = true"
    )]
    Pending(String),
    /// Its schema is of an earlier version, and the command only reads.
    #[error(
        "the database lacks migration {0}, and this command only reads; run `doorward db migrate` first"
    )]
    Outdated(String),
    /// A migration failed.
    #[error(
        "cannot migrate the database: {0}; name a database that is empty or Doorward's own (the \
         migration that failed changed nothing)"
    )]
    Migration(String),
}

impl OpenError {
    pub(super) fn unreachable(url: &DatabaseUrl, cause: &dyn fmt::Display) -> Self {
        let (at, cause) = (url.named(), one_line(cause));
        match RefusalReason::of(&cause) {
            Some(reason) => Self::Refused { at, cause, remedy: reason.remedy() },
            None => Self::Unreachable { at, cause },
        }
    }
}

/// libpq's messages have several lines.
pub(super) fn one_line(text: &dyn fmt::Display) -> String {
    text.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
