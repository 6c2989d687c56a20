//! Checks before a SQLite file is opened: that opening it destroys nothing, and that other users of
//! the machine cannot read it.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::file_identity::companion_file;
use super::{DatabaseUrl, OpenError};

/// Every user but the owner and the group.
const OTHERS_MODE: u32 = 0o007;

const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

impl DatabaseUrl {
    /// Rejects a SQLite file whose opening would lose data or create a database in an unexpected
    /// place.
    ///
    /// # Errors
    /// [`OpenError::OrphanedLog`], [`OpenError::Dangling`].
    pub(super) fn refuse_data_loss(&self) -> Result<(), OpenError> {
        let Self::Sqlite(path) = self else { return Ok(()) };
        if path.is_symlink() && !path.exists() {
            return Err(OpenError::Dangling(path.display().to_string()));
        }
        match self.orphaned_log() {
            Some(log) => Err(OpenError::OrphanedLog { at: path.display().to_string(), log }),
            None => Ok(()),
        }
    }

    /// The log next to a missing SQLite file, or the write-ahead log next to an empty one, which a
    /// new database would overwrite. A rollback journal next to an empty file belongs to an
    /// interrupted first transaction, and contains no data.
    #[must_use]
    pub fn orphaned_log(&self) -> Option<String> {
        let Self::Sqlite(path) = self else { return None };
        let size = |path: &Path| fs::metadata(path).map_or(0, |about| about.len());
        // SQLite stores the log next to the target of a link.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let logs = match fs::metadata(path) {
            Ok(about) if about.len() > 0 => return None,
            Ok(_) => &["-wal"][..],
            Err(_) => &["-wal", "-journal"],
        };
        let mut logs = logs.iter().map(|ending| companion_file(&real, ending));
        logs.find(|log| size(log) > 0).map(|log| log.display().to_string())
    }

    /// Rejects a SQLite file with the log of another database next to it, for example when a backup
    /// replaced a database but not its log. SQLite would apply it.
    ///
    /// Call it before this process has the file open: closing it again would release every lock on
    /// it (POSIX, fcntl).
    ///
    /// # Errors
    /// [`OpenError::OtherLog`].
    pub fn refuse_other_log(&self) -> Result<(), OpenError> {
        let Self::Sqlite(path) = self else { return Ok(()) };
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let log = companion_file(&real, "-wal");
        let has_log = fs::metadata(&log).is_ok_and(|about| about.len() > 0);
        if has_log && keeps_no_log(path) {
            let (at, log) = (path.display().to_string(), log.display().to_string());
            return Err(OpenError::OtherLog { at, log });
        }
        Ok(())
    }

    /// The mode of a directory in which every user of the machine can replace files. With the
    /// sticky bit (as `/tmp` has it) each user can replace their own only.
    #[must_use]
    pub fn mode_if_writable_by_all(folder: &Path) -> Option<u32> {
        let mode = fs::metadata(folder).ok()?.permissions().mode();
        (mode & (OTHERS_WRITE | STICKY) == OTHERS_WRITE).then_some(mode & 0o777)
    }

    /// Rejects a SQLite file in a directory where every user of the machine can replace it.
    ///
    /// # Errors
    /// [`OpenError::WritableFolder`].
    pub fn refuse_replaceable(&self) -> Result<(), OpenError> {
        let Self::Sqlite(path) = self else { return Ok(()) };
        // A link can be replaced, and so can its target.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        for folder in [path, &real].into_iter().filter_map(|file| file.parent()) {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if let Some(mode) = Self::mode_if_writable_by_all(folder) {
                return Err(OpenError::WritableFolder { at: folder.display().to_string(), mode });
            }
        }
        Ok(())
    }

    /// Rejects a SQLite file that every user of the machine can replace, or can read because its
    /// directory allows it.
    ///
    /// # Errors
    /// [`OpenError::WritableFolder`], [`OpenError::Exposed`].
    pub(super) fn refuse_exposed(&self) -> Result<(), OpenError> {
        let Self::Sqlite(path) = self else { return Ok(()) };
        self.refuse_replaceable()?;
        let mode = |path: &Path| fs::metadata(path).map_or(0, |about| about.permissions().mode());
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let folder = real.parent().map_or(0, mode);
        let files = ["", "-wal", "-shm"].map(|ending| companion_file(&real, ending));
        match files.iter().find(|file| mode(file) & OTHERS_MODE != 0) {
            Some(open) if folder & 0o001 != 0 => {
                Err(OpenError::Exposed { at: open.display().to_string(), mode: mode(open) & 0o777 })
            }
            _ => Ok(()),
        }
    }
}

/// Whether the header says that the database is read without a write-ahead log (the file format,
/// 1.3.3). The header does not say so before the first log exists.
fn keeps_no_log(database: &Path) -> bool {
    const READ_VERSION: usize = 19;
    let mut header = [0; READ_VERSION + 1];
    let read = File::open(database).and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header[READ_VERSION] == 1
}
