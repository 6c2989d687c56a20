//! `doorward doctor`: looks for what is wrong around the service, explains it, and changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use url::Url;

use super::{data, is_exposed, policies};
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, MasterSecrets, SameSite};
use crate::database::{Database, DatabaseUrl};
use crate::http::tls::{EXPIRES_SOON, Tls};
use crate::keys;
use crate::passwords::{Hasher, HasherSettings, Password};

/// The least space that is to be left beside the SQLite file, in bytes: its write-ahead log alone
/// may take a quarter of that.
const LEAST_SPACE: u64 = 256 * 1024 * 1024;

/// The fewest files that may be open at a time. Each connection is one.
const LEAST_FILES: u64 = 1024;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// What is wrong with it, and what to do.
    pub problem: String,
}

/// Looks at everything that these settings concern.
#[must_use]
pub fn examine(config: &Config) -> Vec<Finding> {
    let mut doctor = Doctor { config, now: Clock::system().now(), found: Vec::new() };
    doctor.public_url();
    doctor.proxies();
    doctor.pages();
    doctor.certificate();
    doctor.data_directory();
    doctor.database();
    doctor.hashing();
    doctor.files();
    doctor.found
}

struct Doctor<'a> {
    config: &'a Config,
    now: Timestamp,
    found: Vec<Finding>,
}

impl Doctor<'_> {
    fn says(&mut self, check: &'static str, problem: impl Into<String>) {
        self.found.push(Finding { check, problem: problem.into() });
    }

    fn public_url(&mut self) {
        let listen = self.config.listen;
        if self.config.public_url.is_empty() && listen.ip().is_unspecified() {
            let problem = format!(
                "it is empty, and nobody reaches http://{listen}; set it to the URL that clients use"
            );
            self.says("public_url", problem);
        }
        if is_exposed(self.config, listen) {
            let problem = "passwords and tokens travel unencrypted; set tls.cert and tls.key, or \
                           put a proxy with TLS in front and name it in trusted_proxies";
            self.says("listen", problem);
        }
    }

    fn proxies(&mut self) {
        let everybody = self.config.trusted_proxies.iter().find(|net| net.prefix_len() == 0);
        if let Some(net) = everybody {
            let problem = format!(
                "{net} is everybody, so that every client can claim any address and no limit by \
                 address holds; name your proxy's own address"
            );
            self.says("trusted_proxies", problem);
        }
    }

    /// A page of plain http is of another site than an https service, also on the same host.
    fn pages(&mut self) {
        let is_plain = |origin: &&String| {
            let host = Url::parse(origin).ok().and_then(|url| url.host_str().map(str::to_owned));
            let is_local = host.is_some_and(|host| host == "localhost" || host == "127.0.0.1");
            origin.starts_with("http://") && !is_local
        };
        let plain = self.config.cors.origins.iter().find(is_plain).cloned();
        if let Some(origin) = plain.filter(|_| self.config.is_https()) {
            let cookies = match self.config.cookies.same_site {
                SameSite::None => "",
                SameSite::Lax | SameSite::Strict => {
                    ", and browsers send it no cookies of an https service (cookies.same_site)"
                }
            };
            let problem = format!(
                "{origin} is a page that anybody on its way can change{cookies}; serve it by https"
            );
            self.says("cors.origins", problem);
        }
    }

    fn certificate(&mut self) {
        let Some(files) = policies::tls_files(self.config) else {
            return;
        };
        let key = files.key.clone();
        let tls = match Tls::load(files, self.now) {
            Ok(tls) => tls,
            Err(error) => return self.says("tls", error.to_string()),
        };
        let (from, until) = tls.validity();
        if self.now < from {
            self.says(
                "tls",
                format!("the certificate is valid only from {from} on; wait, or correct the clock"),
            );
        } else if until < self.now {
            self.says("tls", format!("the certificate has expired at {until}; renew it"));
        } else if until.since(self.now) < EXPIRES_SOON {
            self.says("tls", format!("the certificate expires at {until}; renew it"));
        }
        let host = Url::parse(&self.config.public_url).ok();
        let host = host.and_then(|url| url.host_str().map(str::to_owned));
        if let Some(host) = host.filter(|host| !tls.is_for(host)) {
            let problem = format!(
                "the certificate is not for {host}, the host of public_url; get one that is"
            );
            self.says("tls", problem);
        }
        self.privacy("tls", &key, 0o007, "640");
    }

    fn data_directory(&mut self) {
        let directory = &self.config.data_dir;
        if !directory.is_dir() {
            // The first start makes it.
            return;
        }
        self.privacy("data_dir", directory, 0o077, "700");
        let Ok(about) = rustix::fs::statvfs(directory) else {
            return;
        };
        let left = about.f_bavail.saturating_mul(about.f_frsize);
        if left < LEAST_SPACE {
            let problem = format!(
                "{} MiB are left on its disk; make room, or nothing can be written soon",
                left / 1024 / 1024
            );
            self.says("data_dir", problem);
        }
    }

    fn privacy(&mut self, check: &'static str, path: &Path, forbidden: u32, right: &str) {
        let mode = fs::metadata(path).map_or(0, |about| about.permissions().mode());
        if mode & forbidden != 0 {
            let (path, mode) = (path.display(), mode & 0o777);
            let problem =
                format!("{path} can be opened by others (mode {mode:o}); chmod {right} {path}");
            self.says(check, problem);
        }
    }

    fn database(&mut self) {
        if let Ok(DatabaseUrl::Sqlite(file)) = self.config.database()
            && !file.exists()
        {
            // The first start makes it, and its secret.
            return;
        }
        let secrets = self.config.master_secret();
        if let Err(error) = &secrets {
            self.says("secret", error.to_string());
        }
        match data::check(self.config) {
            Err(error) => self.says("database", error.to_string()),
            Ok(schema) if !schema.is_good() => {
                let pending = schema.pending.iter().map(|name| format!("{name} is pending"));
                let newer = schema.newer.iter().map(|name| format!("{name} is unknown"));
                let other = schema.drift.into_iter().chain(schema.not_compared);
                let lines: Vec<String> = pending.chain(newer).chain(other).collect();
                let problem = format!(
                    "the schema is not as it should be ({}); see `doorward db check`",
                    lines.join(", ")
                );
                self.says("database", problem);
            }
            Ok(_) => {
                if let Ok(secrets) = secrets
                    && let Err(problem) = self.keys(&secrets)
                {
                    self.says("keys", problem);
                }
            }
        }
    }

    /// Whether the secret opens the signing keys.
    fn keys(&self, secrets: &MasterSecrets) -> Result<(), String> {
        let mut settings =
            policies::database_settings(self.config).map_err(|error| error.to_string())?;
        settings.migrate = false;
        let seal = policies::seal(secrets);
        actix_web::rt::System::new().block_on(async {
            let db = Database::open_existing(&settings).map_err(|error| error.to_string())?;
            keys::operate::examine(&db, &seal).await.map_err(|error| error.to_string())
        })
    }

    fn hashing(&mut self) {
        let settings = policies::hasher_settings(self.config);
        let threads = u64::try_from(settings.threads).unwrap_or(u64::MAX);
        let wanted = threads.saturating_mul(settings.cost.memory_kib.into());
        if let Some(there) = memory_kib().filter(|there| wanted > there / 2) {
            let problem = format!(
                "the hashing threads take {} MiB of this machine's {}; lower passwords.threads or \
                 passwords.memory_kib",
                wanted / 1024,
                there / 1024
            );
            return self.says("passwords", problem);
        }
        let deadline = settings.deadline;
        let took = time_of_a_hash(HasherSettings { threads: 1, queue: 1, ..settings });
        if let Some(took) = took.filter(|took| *took > deadline) {
            let problem = format!(
                "a hash takes {} ms, longer than it may wait (passwords.queue_deadline); lower \
                 passwords.iterations or passwords.memory_kib",
                took.as_millis()
            );
            self.says("passwords", problem);
        }
    }

    fn files(&mut self) {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        if let Some(limit) = limit.filter(|limit| *limit < LEAST_FILES) {
            let problem = format!(
                "{limit} files may be open at a time, and each connection is one; raise it \
                 (LimitNOFILE= in a systemd unit, `ulimit -n` in a shell)"
            );
            self.says("open files", problem);
        }
    }
}

fn time_of_a_hash(settings: HasherSettings) -> Option<Duration> {
    let clock = Clock::system();
    let hasher = Hasher::start(settings, clock.clone()).ok()?;
    let password = Password::parse("a password to measure by").ok()?;
    let begun = clock.monotonic();
    actix_web::rt::System::new().block_on(hasher.hash(password)).ok()?;
    Some(clock.monotonic().duration_since(begun))
}

/// How much memory this machine has, where Linux says so.
fn memory_kib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
