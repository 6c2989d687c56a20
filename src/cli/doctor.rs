//! `doorward doctor`: checks the service's environment, explains problems and changes nothing.

mod database;
mod mail;
mod probe;
mod reachability;
mod tokens;

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use url::Url;

use crate::app::{is_exposed, settings};
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Loaded, SameSite};
use crate::loopback;
use crate::passwords::time_of_a_hash;

/// The minimum free space on the SQLite file's disk, in bytes: its write-ahead log alone may take a
/// quarter of that.
const MIN_FREE_SPACE: u64 = 256 * 1024 * 1024;

/// The lowest acceptable limit on open files. Each connection takes one.
const MIN_OPEN_FILES: u64 = 1024;

/// The arguments of the command.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// The service's public URL: also check its certificate and clock there
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// How many nodes use the PostgreSQL database
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    nodes: u32,
    /// An address that requests come from, such as your proxy's: show which client address they
    /// count under
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<IpAddr>,
    /// The `X-Forwarded-For` header of such a request
    #[arg(long, value_name = "TEXT", requires = "peer")]
    forwarded_for: Option<String>,
}

/// A problem that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the check.
    pub check: &'static str,
    /// The problem and the remedy.
    pub problem: String,
}

/// Runs every check that these settings concern.
#[must_use]
pub fn examine(loaded: &Loaded, questions: &DoctorArgs) -> Vec<Finding> {
    let config = &loaded.config;
    let mut doctor = Doctor { config, questions, now: Clock::system().now(), found: Vec::new() };
    doctor.public_url();
    doctor.proxies();
    doctor.pages();
    doctor.certificate();
    doctor.check_public_url();
    doctor.secret_files(loaded.secret_files());
    doctor.data_directory();
    doctor.database();
    doctor.mail();
    doctor.tokens();
    doctor.hashing();
    doctor.files();
    doctor.found
}

struct Doctor<'a> {
    config: &'a Config,
    questions: &'a DoctorArgs,
    now: Timestamp,
    found: Vec<Finding>,
}

impl Doctor<'_> {
    fn report(&mut self, check: &'static str, problem: impl Into<String>) {
        self.found.push(Finding { check, problem: problem.into() });
    }

    fn public_url(&mut self) {
        let listen = self.config.listen;
        if self.config.public_url.is_empty() && listen.ip().to_canonical().is_unspecified() {
            let problem = format!(
                "it is empty, and clients cannot reach http://{listen}; set it to the URL that \
                 clients use"
            );
            self.report("public_url", problem);
        }
        if is_exposed(self.config, listen) {
            let problem = "passwords and tokens travel unencrypted; set tls.cert and tls.key, or \
                           put a proxy with TLS in front and name it in trusted_proxies";
            self.report("listen", problem);
        } else if self.config.public_url.starts_with("http://")
            && !is_local(&self.config.public_url)
        {
            let problem = "it uses http: passwords and tokens travel unencrypted, and browsers \
                           store none of the cookies; serve it over https";
            self.report("public_url", problem);
        }
    }

    fn proxies(&mut self) {
        let has_proxy = self.config.is_https() && !self.config.has_tls();
        if has_proxy
            && self.config.trusted_proxies.is_empty()
            && !is_exposed(self.config, self.config.listen)
        {
            let problem = "clients use https, so a proxy terminates TLS for Doorward, but it is \
                           not named here: all its clients count as one and share every limit; \
                           set it to the proxy's address, as in [\"127.0.0.1\"]";
            self.report("trusted_proxies", problem);
        }
        self.forwarded();
    }

    /// A page served over plain http is cross-site to an https service, also on the same host.
    fn pages(&mut self) {
        let is_plain = |origin: &&String| origin.starts_with("http://") && !is_local(origin);
        let plain = self.config.cors.origins.iter().find(is_plain).cloned();
        if let Some(origin) = plain.filter(|_| self.config.is_https()) {
            let cookies = match self.config.cookies.same_site {
                SameSite::None => "",
                SameSite::Lax | SameSite::Strict => {
                    ", and browsers send it no cookies of an https service (cookies.same_site)"
                }
            };
            let problem = format!(
                "{origin} is a page that anybody on the network path can change{cookies}; serve it \
                 over https"
            );
            self.report("cors.origins", problem);
        }
        if self.config.cookies.same_site == SameSite::None && self.config.cors.origins.is_empty() {
            let problem = "with none, browsers send cookies with cross-site requests, but no other \
                           site's page may use them, because cors.origins is empty; list the pages \
                           there, or set it to lax";
            self.report("cookies.same_site", problem);
        }
    }

    fn secret_files(&mut self, files: &[(&'static str, PathBuf)]) {
        for (setting, file) in files {
            self.privacy(setting, file, "640");
        }
    }

    fn data_directory(&mut self) {
        let directory = &self.config.data_dir;
        if !directory.is_dir() {
            // The first start creates it.
            return;
        }
        match self.config.refuse_writable_data_dir() {
            Ok(()) => self.privacy("data_dir", directory, "700"),
            Err(error) => self.report("data_dir", error.without_subject()),
        }
        if is_network_file_system(directory) {
            let problem = "it is on a network file system, where the locks and the shared memory \
                           that SQLite needs do not work; put it on a disk of this machine, or use \
                           PostgreSQL";
            self.report("data_dir", problem);
        }
        let Ok(about) = rustix::fs::statvfs(directory) else {
            return;
        };
        let left = about.f_bavail.saturating_mul(about.f_frsize);
        if left < MIN_FREE_SPACE {
            let problem = format!(
                "{} MiB are left on its disk; free some space, or writes will soon fail",
                left / 1024 / 1024
            );
            self.report("data_dir", problem);
        }
    }

    /// The group may read it: a Kubernetes volume with an `fsGroup` sets its bits.
    fn privacy(&mut self, check: &'static str, path: &Path, right: &str) {
        let mode = fs::metadata(path).map_or(0, |about| about.permissions().mode());
        if mode & 0o007 != 0 {
            let (path, mode) = (path.display(), mode & 0o777);
            let problem =
                format!("{path} can be opened by others (mode {mode:o}); chmod {right} {path}");
            self.report(check, problem);
        }
    }

    fn hashing(&mut self) {
        let settings = settings::hasher_settings(self.config);
        let threads = u64::try_from(settings.threads).unwrap_or(u64::MAX);
        let wanted = threads.saturating_mul(settings.cost.memory_kib.into());
        if let Some(there) = memory_kib().filter(|there| wanted > there / 2) {
            let problem = format!(
                "the hashing threads take {} MiB of this machine's {}; lower passwords.threads or \
                 passwords.memory_kib",
                wanted / 1024,
                there / 1024
            );
            return self.report("passwords", problem);
        }
        let deadline = settings.deadline;
        let took = time_of_a_hash(settings.cost, &Clock::system());
        if let Some(took) = took.ok().filter(|took| *took > deadline) {
            let problem = format!(
                "a hash takes {} ms, longer than it may wait (passwords.queue_deadline); lower \
                 passwords.iterations or passwords.memory_kib",
                took.as_millis()
            );
            self.report("passwords", problem);
        }
    }

    fn files(&mut self) {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        if let Some(limit) = limit.filter(|limit| *limit < MIN_OPEN_FILES) {
            let problem = format!(
                "{limit} files may be open at a time, and each connection takes one; raise it \
                 (LimitNOFILE= in a systemd unit, `ulimit -n` in a shell)"
            );
            self.report("open files", problem);
        }
    }
}

fn is_local(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| loopback::is_local(&url))
}

/// Whether a directory is on a network file system, by the magic number of Linux (statfs(2): NFS,
/// SMB, CIFS, SMB2).
fn is_network_file_system(directory: &Path) -> bool {
    #[cfg(target_os = "linux")]
    const NETWORK_FILE_SYSTEMS: [u32; 4] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42];
    #[cfg(target_os = "linux")]
    return rustix::fs::statfs(directory).is_ok_and(|about| {
        u32::try_from(about.f_type).is_ok_and(|kind| NETWORK_FILE_SYSTEMS.contains(&kind))
    });
    #[cfg(not(target_os = "linux"))]
    false
}

/// The memory of this machine, where Linux reports it.
fn memory_kib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
