//! What is looked at before a SQLite file is opened: that opening destroys nothing, and that other
//! users of the machine cannot read it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::file_identity::with;
use super::{DatabaseUrl, OpenError};

/// Everybody but the owner and the group.
const OTHERS_MODE: u32 = 0o007;

impl DatabaseUrl {
    /// Refuses a SQLite file whose opening would lose data, or make it where nobody expects it.
    ///
    /// # Errors
    /// [`OpenError::LogAlone`], [`OpenError::Dangling`].
    pub(super) fn loses_nothing(&self) -> Result<(), OpenError> {
        let Self::Sqlite(path) = self else { return Ok(()) };
        if path.is_symlink() && !path.exists() {
            return Err(OpenError::Dangling(path.display().to_string()));
        }
        match self.log_alone() {
            Some(log) => Err(OpenError::LogAlone { at: path.display().to_string(), log }),
            None => Ok(()),
        }
    }

    /// The write-ahead log that lies beside a missing or empty SQLite file, which a new database
    /// would overwrite.
    #[must_use]
    pub fn log_alone(&self) -> Option<String> {
        let Self::Sqlite(path) = self else { return None };
        let size = |path: &Path| fs::metadata(path).map_or(0, |about| about.len());
        // SQLite keeps the log beside the file that a link leads to.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let log = with(&real, "-wal");
        (size(path) == 0 && size(&log) > 0).then(|| log.display().to_string())
    }

    /// Refuses a SQLite file that every user of the machine can read, in a folder that lets them.
    ///
    /// # Errors
    /// [`OpenError::Exposed`].
    pub(super) fn is_private(&self) -> Result<(), OpenError> {
        let Self::Sqlite(path) = self else { return Ok(()) };
        let mode = |path: &Path| fs::metadata(path).map_or(0, |about| about.permissions().mode());
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let folder = real.parent().map_or(0, mode);
        let files = ["", "-wal", "-shm"].map(|ending| with(&real, ending));
        match files.iter().find(|file| mode(file) & OTHERS_MODE != 0) {
            Some(open) if folder & 0o001 != 0 => {
                Err(OpenError::Exposed { at: open.display().to_string(), mode: mode(open) & 0o777 })
            }
            _ => Ok(()),
        }
    }
}
