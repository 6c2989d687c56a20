//! Database URLs: parsing, and the parameters that Doorward adds to PostgreSQL's.

use std::fmt;
use std::net::IpAddr;
use std::path::{self, PathBuf};

use super::OpenError;
use crate::secret::Secret;

/// Whether this build can encrypt its connections to PostgreSQL.
const TLS: bool = cfg!(feature = "postgres-tls");

/// Parameters added to every PostgreSQL URL that does not set them. libpq by default waits for
/// ever, for a connection and for a response; and with several hosts, or after a failover, it takes
/// the first server that responds, even a replica that may lag behind.
const DEFAULTS: [(&str, &str); 7] = [
    ("connect_timeout", "2"),
    ("tcp_user_timeout", "3000"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "2"),
    ("keepalives_count", "2"),
    ("target_session_attrs", "read-write"),
    ("application_name", "doorward"),
];

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
        self.loses_nothing()?;
        match self {
            Self::Sqlite(file) if !file.is_file() => Err(OpenError::Missing(self.named())),
            _ => Ok(()),
        }
    }

    /// The same, and also an empty one, which connecting would fill.
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

/// A PostgreSQL URL, completed with [`DEFAULTS`].
pub(super) fn with_defaults(url: &str) -> String {
    let missing = DEFAULTS.iter().filter(|(name, _)| parameter(url, name).is_none());
    let added: Vec<String> = missing.map(|(name, value)| format!("{name}={value}")).collect();
    let separator = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    if added.is_empty() { url.to_owned() } else { format!("{url}{separator}{}", added.join("&")) }
}

/// The same for a primary that rejects writes for now (by `default_transaction_read_only`, as some
/// hosting providers set it when a disk fills up). A replica does not qualify: it may lag behind.
/// None if the URL itself restricts which servers qualify.
pub(super) fn with_defaults_for_reading(url: &str) -> Option<String> {
    let [wanted, instead] =
        ["read-write", "primary"].map(|it| format!("target_session_attrs={it}"));
    let is_free = parameter(url, "target_session_attrs").is_none();
    is_free.then(|| with_defaults(url).replace(&wanted, &instead))
}

/// Whether libpq parses every part of a URL, without its scheme, as intended. libpq quotes text
/// that it cannot parse in errors, and resolves text after an `@` in a password as a host.
fn is_well_formed(url: &str) -> bool {
    let end = url.find(['/', '?']).unwrap_or(url.len());
    let (authority, rest) = url.split_at(end);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let hosts = authority.split_once('@').map_or(authority, |(_, hosts)| hosts);
    let is_fine = |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '<' | '>' | '"' | '\\');
    url.chars().all(|c| !c.is_whitespace() && !c.is_control())
        && url.split('%').skip(1).all(is_escape)
        && !hosts.contains('@')
        && hosts.chars().all(is_fine)
        && hosts.split(',').all(has_valid_port)
        && path.chars().filter(|c| *c == '/').count() <= 1
        && !path.contains(['@', ':'])
        && query.split('&').filter(|pair| !pair.is_empty()).all(|pair| {
            pair.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            })
        })
}

fn is_escape(rest: &str) -> bool {
    let digits = rest.as_bytes().get(..2);
    digits.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit) && two != b"00")
}

fn has_valid_port(host: &str) -> bool {
    let port = match host.strip_prefix('[') {
        Some(address) => match address.split_once(']') {
            Some((_, "")) => return true,
            Some((_, port)) => port.strip_prefix(':'),
            None => None,
        },
        None => Some(host.split_once(':').map_or("", |(_, port)| port)),
    };
    port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok())
}

fn after_scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

fn parameter<'a>(url: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = url.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

/// libpq's modes that never fall back to plain text.
fn wants_tls(url: &str) -> bool {
    parameter(url, "sslmode").is_some_and(|mode| mode == "require" || mode.starts_with("verify-"))
}

/// The hosts, without ports; a URL that names none means a Unix socket of this machine.
fn hosts(url: &str) -> impl Iterator<Item = &str> {
    let authority = url.split(['/', '?']).next().unwrap_or_default();
    let named = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let named = match (named, parameter(url, "host"), parameter(url, "hostaddr")) {
        (_, _, Some(given)) | ("", Some(given), None) => given,
        (named, _, None) => named,
    };
    named.split(',').map(|host| match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    })
}

/// The hosts with their ports, and the database's name; `None` when they could include part of a
/// password that was not percent-encoded.
fn server_and_name(url: &str) -> Option<String> {
    let authority = url.split(['/', '?']).next().unwrap_or_default();
    let (user, servers) = authority.rsplit_once('@').unwrap_or(("", authority));
    let name = url.get(authority.len()..).unwrap_or_default().split('?').next().unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let has_port = |server: &str| match server.rsplit_once(':') {
        Some((host, port)) => server.ends_with(']') || !host.is_empty() && is_port(port),
        None => true,
    };
    let strays = url.matches('@').count() > usize::from(authority.contains('@'));
    if strays || user.contains('@') || !servers.split(',').all(has_port) {
        return None;
    }
    let servers = match parameter(url, "host").or_else(|| parameter(url, "hostaddr")) {
        Some(given) if servers.is_empty() => given,
        _ => servers,
    };
    Some(format!("{servers}{name}"))
}

fn is_local(host: &str) -> bool {
    let is_socket = host.is_empty() || host.starts_with('/') || host.starts_with("%2F");
    is_socket
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<DatabaseUrl, UrlError> {
        DatabaseUrl::parse(&Secret::new(url.to_owned()))
    }

    #[test]
    fn every_url_gets_the_deadlines_that_it_does_not_set() {
        assert_eq!(
            with_defaults("postgres://db/x?connect_timeout=9&tcp_user_timeout=1"),
            "postgres://db/x?connect_timeout=9&tcp_user_timeout=1&keepalives_idle=5&\
             keepalives_interval=2&keepalives_count=2&target_session_attrs=read-write&\
             application_name=doorward"
        );
        assert!(with_defaults("postgres://db/x").starts_with("postgres://db/x?connect_timeout=2&"));
        assert!(with_defaults("postgres://db/x?").starts_with("postgres://db/x?connect_timeout=2"));
    }

    #[test]
    fn unsupported_encryption_is_rejected() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let parsed = parse(&format!("postgres://db/x?application_name=a&sslmode={mode}"));
            assert_eq!(parsed.is_ok(), TLS, "{mode}");
        }
        for mode in ["disable", "allow", "prefer"] {
            assert!(parse(&format!("postgres://db/x?sslmode={mode}")).is_ok(), "{mode}");
        }
    }

    #[test]
    fn a_url_with_an_unencoded_password_is_malformed() {
        for url in [
            "u:hunter/2@db/x",
            "u:12/hunter@db/x",
            "u:hunter@2@db/x",
            "u:p@localhost@db/x",
            "u:hunter?2@db/x",
            "u:hunter%2@db/x",
            "u:hunter%zz@db/x",
            "u:hunter%00@db/x",
            "u:hunter 2@db/x",
            "u@db:hunter/x",
            "u:12?h2=3@db/x",
            "u:p@[::1/x",
            "u:p@[::1]5/x",
        ] {
            let refused = parse(&format!("postgres://{url}")).unwrap_err();
            assert_eq!(refused, MALFORMED, "{url}");
        }
        for url in [
            "u:p%40%2F%25@db:5432/x?options=-c%20a%3Db",
            "u:p#x:y@h1:1,h2:2,[::1]:3/x",
            "h:/x",
            "u@%2Frun%2Fpostgresql:5433/x",
            "/x?host=/run/postgresql&user=a@b",
            "db",
            "u:@/x?",
        ] {
            assert!(parse(&format!("postgres://{url}")).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_server_is_named_without_anything_that_could_be_a_secret() {
        for (url, named) in [
            (
                "postgres://u:hunter2@db.example:5432/x?password=hunter2",
                "postgres://db.example:5432/x",
            ),
            ("postgres://[::1]:5432,localhost/x", "postgres://[::1]:5432,localhost/x"),
            ("postgres://u:hunter2@[::1]/x", "postgres://[::1]/x"),
            ("postgres:///x?host=/run/postgresql", "postgres:///run/postgresql/x"),
            ("postgres://db", "postgres://db"),
        ] {
            assert_eq!(parse(url).unwrap().named(), named);
        }
        let ambiguous = parse("postgres://db/x?user=u@hunter2").unwrap();
        assert_eq!(ambiguous.named(), "postgres://[secret]");
        for malformed in ["u:hun/ter2@db/x", "u:hun?ter2@db/x", "u:hun@ter2@db/x", "u:hunter2/x"] {
            assert!(parse(&format!("postgres://{malformed}")).is_err(), "{malformed}");
        }
    }

    #[test]
    fn a_plain_connection_to_another_machine_is_exposed() {
        for local in [
            "postgres://localhost/x",
            "postgresql://u:p@127.0.0.1:5432/x",
            "postgres://[::1]:5432,localhost/x",
            "postgres:///x",
            "postgres:///x?host=/run/postgresql",
            "postgres://%2Frun%2Fpostgresql/x",
        ] {
            assert!(!parse(local).unwrap().is_exposed(), "{local}");
        }
        for remote in [
            "postgres://u:p@db.example/x",
            "postgres://localhost,db2/x?sslmode=prefer",
            "postgres:///x?host=db",
            "postgres://localhost/x?hostaddr=192.0.2.1",
        ] {
            assert!(parse(remote).unwrap().is_exposed(), "{remote}");
        }
        assert!(!parse("sqlite://x").unwrap().is_exposed());
    }
}
