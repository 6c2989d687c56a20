//! The master secret: from the settings, or stored next to the SQLite file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;
use zeroize::Zeroizing;

use super::privacy::{self, close, is_open_to_all};
use super::{Config, ConfigError};
use crate::database::DatabaseUrl;
use crate::secret::{self, MasterSecret, Secret};

const GENERATE_HINT: &str = "generate one with `openssl rand -base64 32` or `doorward secret new`";

/// The secrets from which every key is derived.
#[derive(Clone, Debug)]
pub struct MasterSecrets {
    /// The secret that protects new data.
    pub current: MasterSecret,
    /// The one before it, which still decrypts older data.
    pub previous: Option<MasterSecret>,
    /// The file in the data directory that holds the current secret, unless it was given.
    pub file: Option<SecretFile>,
}

/// The file that holds the master secret. The next start needs it.
#[derive(Clone, Debug)]
pub struct SecretFile {
    path: PathBuf,
    secret: MasterSecret,
}

impl SecretFile {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it still holds the secret.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        let text = fs::read_to_string(&self.path).map(Zeroizing::new);
        let kept = text
            .ok()
            .and_then(|text| MasterSecret::parse(text.trim_start_matches('\u{feff}')).ok());
        kept.is_some_and(|kept| {
            secret::equal(kept.to_text().as_bytes(), self.secret.to_text().as_bytes())
        })
    }
}

impl Config {
    /// The given master secret; otherwise, with SQLite, the one in the data directory, which the
    /// first start generates. A secret is never generated next to an existing database: it could
    /// not decrypt the keys there and would end every session.
    ///
    /// # Errors
    /// [`ConfigError`] when the secret is missing, malformed or weak, when every user can read
    /// its file, or when it cannot be written.
    pub fn master_secret(&self) -> Result<MasterSecrets, ConfigError> {
        let (given, previous) = self.given_secrets()?;
        let (current, file) = match (given, self.database()?) {
            (Some(given), _) => (given, None),
            (None, url @ DatabaseUrl::Sqlite(_)) => {
                let secret = self.stored_secret(&url)?;
                let path = self.data_dir.join("secret");
                (secret.clone(), Some(SecretFile { path, secret }))
            }
            (None, DatabaseUrl::Postgres(_)) => {
                let problem = "it is required with PostgreSQL, and must be the same on every node";
                return Err(ConfigError::new(
                    "secret",
                    problem,
                    GENERATE_HINT.to_owned() + " and set DOORWARD_SECRET_FILE",
                ));
            }
        };
        Ok(MasterSecrets { current, previous, file })
    }

    /// Creates the data directory, for this user alone, unless it exists or the database is
    /// elsewhere.
    ///
    /// # Errors
    /// [`ConfigError`] when it cannot be created.
    pub fn create_data_dir(&self) -> Result<(), ConfigError> {
        if self.database_url.is_some() { Ok(()) } else { self.make_data_dir() }
    }

    fn make_data_dir(&self) -> Result<(), ConfigError> {
        let made = if self.data_dir.is_dir() {
            Ok(())
        } else {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.data_dir);
            made.and_then(|()| sync_directory(&self.data_dir.join("..")))
        };
        made.map_err(|error| {
            let problem = format!("{} cannot be created: {error}", self.data_dir.display());
            ConfigError::new(
                "data_dir",
                problem,
                "create it, or name a directory that this user can write to",
            )
        })
    }

    /// `secret` and `previous_secret`, if given.
    pub(super) fn given_secrets(
        &self,
    ) -> Result<(Option<MasterSecret>, Option<MasterSecret>), ConfigError> {
        let parse = |setting: &str, text: &Option<Secret<String>>| {
            let parsed = text.as_ref().map(|text| MasterSecret::parse(text.expose())).transpose();
            parsed.map_err(|error| ConfigError::new(setting, error.to_string(), GENERATE_HINT))
        };
        Ok((parse("secret", &self.secret)?, parse("previous_secret", &self.previous_secret)?))
    }

    /// Rejects a data directory in which every user of the machine can replace the secret or the
    /// database.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn refuse_writable_data_dir(&self) -> Result<(), ConfigError> {
        privacy::refuse_writable_folder("data_dir", &self.data_dir)
    }

    fn stored_secret(&self, url: &DatabaseUrl) -> Result<MasterSecret, ConfigError> {
        self.refuse_writable_data_dir()?;
        let path = self.data_dir.join("secret");
        let failed = |error: io::Error| {
            let remedy = "make data_dir readable and writable for this user";
            ConfigError::new(path.display().to_string(), error.to_string(), remedy)
        };
        if !path.try_exists().map_err(failed)? {
            let there = match url {
                DatabaseUrl::Sqlite(file) if file.try_exists().map_err(failed)? => {
                    Some(file.display().to_string())
                }
                url => url.orphaned_log(),
            };
            if let Some(there) = there {
                return Err(ConfigError::new(
                    path.display().to_string(),
                    format!("it is missing, and {there} cannot be used without it"),
                    "restore it from the backup, or give the secret in DOORWARD_SECRET",
                ));
            }
            self.make_data_dir()?;
            generate(&self.data_dir, &path).map_err(failed)?;
        }
        read_private(&path)
    }
}

/// Writes a new secret so that the file is complete and on disk as soon as it is visible. If
/// another process was faster, its secret stays.
fn generate(directory: &Path, path: &Path) -> io::Result<()> {
    let unfinished = directory.join(format!("secret.{}", Uuid::new_v4()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(MasterSecret::generate().to_text().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    // Unlike a rename, a link never replaces a file.
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    linked.or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    })?;
    sync_directory(directory)
}

fn read_private(path: &Path) -> Result<MasterSecret, ConfigError> {
    let shown = path.display().to_string();
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|mut file| {
        let mode = file.metadata()?.permissions().mode();
        file.read_to_string(&mut text)?;
        Ok(mode)
    });
    match read {
        Err(error) => {
            let problem = format!("it cannot be read: {error}");
            Err(ConfigError::new(shown, problem, "make it a file that this user can read"))
        }
        Ok(mode) if is_open_to_all(mode) => {
            let problem =
                format!("every user of this machine can read it (its mode is {:o})", mode & 0o777);
            let remedy = close(path);
            Err(ConfigError::new(shown, problem, remedy))
        }
        Ok(_) => MasterSecret::parse(text.trim_start_matches('\u{feff}')).map_err(|error| {
            let remedy = "restore it from the backup; where there is no database yet, remove it";
            ConfigError::new(shown, error.to_string(), remedy)
        }),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
