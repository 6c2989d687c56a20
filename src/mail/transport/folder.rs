//! Messages as files, for trying the service out without a mail server.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::messages::MessageKind;
use super::{SendError, SendErrorKind};
use crate::clock::{Clock, Timestamp};
use crate::database::Id;

/// The maximum number of files.
const MAX_FILES: usize = 1000;

/// How long files are kept.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A folder of messages (`*.eml`): at most a thousand, at most a day old.
#[derive(Clone, Debug)]
pub struct OutboxFolder {
    path: PathBuf,
    clock: Clock,
}

impl OutboxFolder {
    /// A folder, which is created with the first message.
    #[must_use]
    pub const fn new(path: PathBuf, clock: Clock) -> Self {
        Self { path, clock }
    }

    /// Writes a message, readable by this user only, and logs the file's name. The same message
    /// again replaces its file.
    pub(super) async fn put(
        &self,
        id: Id,
        message: MessageKind,
        bytes: Vec<u8>,
    ) -> Result<(), SendError> {
        let (path, now) = (self.path.clone(), self.clock.now());
        let written = tokio::task::spawn_blocking(move || write(&path, id, &bytes, now)).await;
        let written = written.unwrap_or_else(|_| Err(io::Error::other("the write panicked")));
        let file = written.map_err(|error| SendError {
            text: format!("{}: {error}", self.path.display()),
            kind: SendErrorKind::Unreachable,
        })?;
        tracing::info!(file = %file.display(), kind = message.as_str(), "message written to a file");
        Ok(())
    }
}

fn write(folder: &Path, id: Id, bytes: &[u8], now: Timestamp) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    delete_old(folder, now)?;
    let (partial, file) = (folder.join(format!(".{id}")), folder.join(format!("{id}.eml")));
    let mut out: File =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    // Readers never see half a message.
    fs::rename(&partial, &file)?;
    Ok(file)
}

/// Deletes files that are too old, and the oldest if there are too many. A name is an id, which
/// begins with the time.
fn delete_old(folder: &Path, now: Timestamp) -> io::Result<()> {
    let mut messages = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(Id::parse);
        if let (Some(id), Some("eml")) = (id, path.extension().and_then(|it| it.to_str())) {
            messages.push((id, path));
        }
    }
    messages.sort_unstable();
    let first = Id::new(now.minus(MAX_AGE));
    let surplus = (messages.len() + 1).saturating_sub(MAX_FILES);
    for (i, (id, path)) in messages.iter().enumerate() {
        if i < surplus || *id < first {
            // Another node may have deleted it.
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn count(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn files_are_private_and_limited_in_number_and_age() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("outbox");
        let start = Timestamp::from_unix_seconds(1_800_000_000);
        let put = |seconds| {
            let now = start.plus(Duration::from_secs(seconds));
            write(&folder, Id::new(now), b"x", now).unwrap()
        };
        let file = put(0);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let notes = folder.join("notes.txt");
        fs::write(&notes, "mine").unwrap();
        for second in 1..1002 {
            put(second);
        }
        assert_eq!(count(&folder), MAX_FILES + 1, "and the other file");
        assert!(!file.exists());
        put(2 * 24 * 60 * 60);
        assert_eq!(count(&folder), 2);
        assert!(notes.exists());
    }
}
