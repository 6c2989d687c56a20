//! Database URLs: parsing, and the parameters that Doorward adds to PostgreSQL's.

mod libpq;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{self, PathBuf};

pub(super) use libpq::{with_defaults, with_defaults_for_reading};

use super::OpenError;
use crate::secret::Secret;
use libpq::{after_scheme, hosts, is_local, is_well_formed, server_and_name, wants_tls};

/// Whether this build can encrypt its connections to PostgreSQL.
const TLS: bool = cfg!(feature = "postgres-tls");

/// The location of a database of either kind.
#[derive(Clone)]
pub enum DatabaseUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL URL, in libpq's format. It may hold a password.
    Postgres(Secret<String>),
}

/// Why a URL is invalid, and the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {remedy}")]
pub struct UrlError {
    /// The problem.
    pub problem: &'static str,
    /// The remedy.
    pub remedy: &'static str,
}

/// Its text is never quoted: a password with a `/` or an `@` in it parses as a host or a port.
pub(super) const MALFORMED: UrlError = UrlError {
    problem: "it is not a valid PostgreSQL URL",
    remedy: "percent-encode the user and the password (`/` is %2F, `@` is %40, `#` is %23, `?` is \
             %3F, `%` is %25), or leave the password out and set PGPASSWORD",
};

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(_) => f.write_str("postgres://[secret]"),
        }
    }
}

impl DatabaseUrl {
    /// Parses `sqlite://path` or `postgres://…`.
    ///
    /// # Errors
    /// [`UrlError`] when it is neither, or needs a feature that this build lacks.
    pub fn parse(url: &Secret<String>) -> Result<Self, UrlError> {
        match url.expose().split_once("://") {
            Some(("sqlite", path))
                if !path.is_empty() && !path.contains(['?', '#', '\0']) && path != ":memory:" =>
            {
                Ok(Self::Sqlite(PathBuf::from(path)))
            }
            Some(("sqlite", _)) => Err(UrlError {
                problem: "it does not name a file",
                remedy: "write sqlite:// and the path of a file, without parameters",
            }),
            Some(("postgres" | "postgresql", rest)) if !rest.is_empty() => {
                if !is_well_formed(rest) {
                    return Err(MALFORMED);
                }
                if !TLS && wants_tls(rest) {
                    return Err(UrlError {
                        problem: "it asks for an encrypted connection, which this build cannot make",
                        remedy: "build with `--features postgres-tls` (it needs perl and make), or \
                                 leave sslmode out if the network between is trusted",
                    });
                }
                Ok(Self::Postgres(url.clone()))
            }
            _ => Err(UrlError {
                problem: "it is neither a SQLite nor a PostgreSQL URL",
                remedy: "write sqlite://<path> or postgres://<user>:<password>@<host>/<database>",
            }),
        }
    }

    /// The database's name in messages: the absolute path of a file, or the server and database
    /// name, without user, password and parameters.
    #[must_use]
    pub fn named(&self) -> String {
        match self {
            Self::Sqlite(file) => {
                path::absolute(file).as_ref().unwrap_or(file).display().to_string()
            }
            Self::Postgres(url) => {
                let named = server_and_name(after_scheme(url.expose()));
                named.map_or_else(|| format!("{self:?}"), |named| format!("postgres://{named}"))
            }
        }
    }

    /// Rejects a missing SQLite file, which connecting would create.
    pub(super) fn must_exist(&self) -> Result<(), OpenError> {
        self.refuse_data_loss()?;
        let Self::Sqlite(file) = self else { return Ok(()) };
        match file.try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err(OpenError::Missing(self.named())),
            Err(error) => {
                Err(OpenError::Unreachable { at: self.named(), cause: error.to_string() })
            }
        }
    }

    /// Rejects a missing or empty SQLite file, which connecting would create or fill.
    pub(super) fn must_not_be_empty(&self) -> Result<(), OpenError> {
        self.must_exist()?;
        match self {
            Self::Sqlite(file) if file.metadata().is_ok_and(|about| about.len() == 0) => {
                Err(OpenError::Empty(self.named()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn warn_if_exposed(&self) {
        if self.is_exposed() {
            tracing::warn!(
                "the connection to the database goes to another machine and is not encrypted"
            );
        }
    }

    /// Whether traffic to the database is exposed: it is on another machine, and the URL does not
    /// require encryption.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(url) => {
                let url = after_scheme(url.expose());
                !wants_tls(url) && !hosts(url).all(is_local)
            }
        }
    }
}
