//! The mode of files that hold a secret: readable by the owner and the owner's group only. The
//! group is allowed because a Kubernetes volume with an `fsGroup` always sets its bits.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::ConfigError;
use crate::database::DatabaseUrl;

/// Whether every user of the machine can read a file with this mode.
pub(super) const fn is_open_to_all(mode: u32) -> bool {
    mode & 0o007 != 0
}

/// Rejects a file with a secret that every user of the machine can read; `subject` names its source
/// in the error. The owner's group may read it. A pipe or another special file has no other reader.
///
/// # Errors
/// [`ConfigError`] when it is open to all.
pub fn refuse_world_readable(
    subject: &str,
    path: &Path,
    about: &Metadata,
) -> Result<(), ConfigError> {
    let mode = about.permissions().mode();
    if !about.is_file() || !is_open_to_all(mode) {
        return Ok(());
    }
    let problem = format!(
        "{} holds it, and every user of this machine can read that file (its mode is {:o})",
        path.display(),
        mode & 0o777
    );
    Err(ConfigError::new(subject, problem, close(path)))
}

/// How to restrict the mode of such a file.
pub(super) fn close(path: &Path) -> String {
    format!(
        "chmod 600 {}, or 640 for a service's group (for a Kubernetes volume set defaultMode: 0440 \
         and fsGroup; for a Docker secret, which is 0444 by default, set uid and mode: 0400)",
        path.display()
    )
}

/// Rejects a directory in which every user of the machine can replace files.
pub(super) fn refuse_writable_folder(setting: &str, folder: &Path) -> Result<(), ConfigError> {
    let Some(mode) = DatabaseUrl::mode_if_writable_by_all(folder) else { return Ok(()) };
    let folder = folder.display();
    let problem = format!(
        "every user of this machine can write to the folder {folder} (its mode is {mode:o}), and so \
         replace its files"
    );
    let remedy = format!(
        "chmod 700 {folder}, or name a folder in it that is not there yet, which Doorward makes for \
         its user alone"
    );
    Err(ConfigError::new(setting, problem, remedy))
}
